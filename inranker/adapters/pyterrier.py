"""PyTerrier: a transformer that re-ranks.

    from inranker.adapters.pyterrier import InRankerTransformer

    pipeline = bm25 % 100 >> pt.text.get_text(index, "text") >> InRankerTransformer("unicamp-dl/InRanker-small")

It is Python alone: no JVM is started for it.
"""

from pathlib import Path
from typing import Any

from inranker.errors import UserError
from inranker.ranking.passages import as_passages
from inranker.ranking.ranker import LongPassages, Ranker
from inranker.types import Passage

try:
    import pandas as pd
    import pyterrier as pt
except ImportError as error:
    raise UserError(
        "the PyTerrier adapter needs PyTerrier; install it with pip install 'inranker[pyterrier]'"
    ) from error


class InRankerTransformer(pt.Transformer):
    """Documents of each query (`qid`, `query`, `docno` and a text) in the order of a reranker.

    Args:
        model: a `Ranker`, or what one is made from: a checkpoint directory or a hub id.
        text_field: the column that holds the texts.
        title_field: a column of titles that are put before them, if any.
        long_passages: `truncate` or `windows`, as `Ranker.rank`.
        ranker: options of the `Ranker` that is made (device, precision, backend, …).
    """

    def __init__(
        self,
        model: Ranker | str | Path,
        text_field: str = "text",
        title_field: str | None = None,
        long_passages: LongPassages = "truncate",
        **ranker: Any,
    ) -> None:
        super().__init__()
        self.ranker = model if isinstance(model, Ranker) else Ranker(model, **ranker)
        self.text_field = text_field
        self.title_field = title_field
        self.long_passages = long_passages

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """The rows with new `score` and `rank` (from 0), the queries as they came, each one's best row first; other
        columns stay. Equal scores keep the rank they had, or the rows' order where there was none.

        Raises:
            UserError: a column is missing, or a text is no string.
        """
        wanted = ["qid", "query", "docno", self.text_field, *([self.title_field] if self.title_field else [])]
        if absent := [name for name in wanted if name not in inp.columns]:
            raise UserError(
                f"the results have no column {absent[0]!r} (they have {', '.join(inp.columns)}); "
                "pt.text.get_text adds texts, text_field names their column"
            )
        if inp.empty:
            return inp.assign(score=pd.Series(dtype=float), rank=pd.Series(dtype=int))
        ordered = inp.sort_values("rank", kind="stable") if "rank" in inp.columns else inp
        groups = [rows for _, rows in ordered.groupby("qid", sort=False)]
        place = {query_id: number for number, query_id in enumerate(dict.fromkeys(inp["qid"]))}
        groups.sort(key=lambda rows: place[rows["qid"].iloc[0]])
        ranked = self.ranker.rank(
            [rows["query"].iloc[0] for rows in groups],
            [self._passages(rows) for rows in groups],
            long_passages=self.long_passages,
        )
        parts = [
            rows.iloc[[hit.index for hit in hits]].assign(score=[hit.score for hit in hits], rank=range(len(hits)))
            for rows, hits in zip(groups, ranked, strict=True)
        ]
        return pd.concat(parts, ignore_index=True)

    def _passages(self, rows: pd.DataFrame) -> list[Passage]:
        titles = rows[self.title_field] if self.title_field else [""] * len(rows)
        columns = zip(rows["docno"], rows[self.text_field], titles, strict=True)
        return as_passages([{"id": docno, "text": text, "title": title} for docno, text, title in columns])

    def __repr__(self) -> str:
        return f"InRanker({Path(self.ranker.model).name})"
