"""LangChain: a document compressor, for `ContextualCompressionRetriever` or a chain of one's own.

from inranker.adapters.langchain import InRankerCompressor

compressor = InRankerCompressor.load("unicamp-dl/InRanker-small", top_n=5)
documents = compressor.compress_documents(documents, query)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inranker.errors import UserError
from inranker.ranking.ranker import LongPassages, Ranker

try:
    from langchain_core.callbacks import Callbacks
    from langchain_core.documents import BaseDocumentCompressor, Document
    from pydantic import ConfigDict
except ImportError as error:
    raise UserError(
        "the LangChain adapter needs langchain-core; install it with pip install 'inranker[langchain]'"
    ) from error


class InRankerCompressor(BaseDocumentCompressor):
    """The best documents for a query, best first, each with `relevance_score` and `relevance_probability` in its
    metadata."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    ranker: Ranker
    """What ranks."""
    top_n: int | None = 3
    """Documents that are kept; None keeps all."""
    min_probability: float | None = None
    """Leave out documents below this probability; it means most once the model is calibrated."""
    long_passages: LongPassages = "truncate"
    """`truncate` or `windows`, as `Ranker.rank`."""

    @classmethod
    def load(
        cls,
        model: str | Path,
        top_n: int | None = 3,
        min_probability: float | None = None,
        long_passages: LongPassages = "truncate",
        **ranker: Any,
    ) -> "InRankerCompressor":
        """A compressor of a checkpoint directory or a hub id; `ranker` are options of `Ranker`.

        Raises:
            UserError: no such model.
        """
        made = Ranker(model, **ranker)
        return cls(ranker=made, top_n=top_n, min_probability=min_probability, long_passages=long_passages)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """The kept documents, best first; those given are not changed.

        Args:
            documents: what a retriever found.
            query: what was asked.
            callbacks: not used; there is nothing to trace inside.
        """
        texts = [document.page_content for document in documents]
        kept = []
        for hit in self.ranker.rank(query, texts, self.top_n, self.long_passages):
            if self.min_probability is not None and hit.probability < self.min_probability:
                break
            document = documents[hit.index]
            scores = {"relevance_score": hit.score, "relevance_probability": hit.probability}
            kept.append(document.model_copy(update={"metadata": {**document.metadata, **scores}}))
        return kept
