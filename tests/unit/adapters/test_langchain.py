"""The LangChain adapter against langchain-core itself."""

import asyncio
from pathlib import Path

import pytest

from inranker import Ranker
from inranker.errors import UserError
from tests.builders import pair_rows

pytest.importorskip("langchain_core", reason="langchain-core is not installed (extra langchain)")
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import RunnableLambda

from inranker.adapters.langchain import InRankerCompressor

TEXTS = [str(row["passage"]) for row in pair_rows(8)]
DOCUMENTS = [Document(page_content=text, metadata={"source": n}, id=str(n)) for n, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def ranker(teacher: Path) -> Ranker:
    return Ranker(teacher, precision="float32", threads=1)


def test_it_is_a_compressor_that_keeps_the_best(ranker: Ranker) -> None:
    compressor = InRankerCompressor(ranker=ranker, top_n=3)
    assert isinstance(compressor, BaseDocumentCompressor)
    kept = compressor.compress_documents(DOCUMENTS, "open file")
    hits = ranker.rank("open file", TEXTS, top_k=3)
    assert [document.metadata["source"] for document in kept] == [hit.index for hit in hits]
    assert [document.id for document in kept] == [str(hit.index) for hit in hits]
    assert [document.metadata["relevance_score"] for document in kept] == [hit.score for hit in hits]
    assert [document.metadata["relevance_probability"] for document in kept] == [hit.probability for hit in hits]
    assert all(document.metadata == {"source": n} for n, document in enumerate(DOCUMENTS))


def test_it_runs_in_chains_and_beside_a_loop(ranker: Ranker) -> None:
    compressor = InRankerCompressor(ranker=ranker, top_n=None)
    chain = RunnableLambda(lambda query: compressor.compress_documents(DOCUMENTS, query))
    awaited = asyncio.run(compressor.acompress_documents(DOCUMENTS, "open file"))
    assert chain.invoke("open file") == awaited and len(awaited) == len(DOCUMENTS)


def test_a_threshold_leaves_out_what_is_improbable(ranker: Ranker) -> None:
    hits = ranker.rank("open file", TEXTS)
    between = (hits[3].probability + hits[4].probability) / 2
    compressor = InRankerCompressor(ranker=ranker, top_n=None, min_probability=between)
    assert len(compressor.compress_documents(DOCUMENTS, "open file")) == 4


def test_it_loads_a_model_and_takes_no_documents(teacher: Path) -> None:
    compressor = InRankerCompressor.load(teacher, top_n=2, precision="float32", threads=1)
    assert compressor.compress_documents([], "open file") == []
    with pytest.raises(UserError, match="no such model"):
        InRankerCompressor.load("/nowhere")
