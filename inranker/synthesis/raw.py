"""Generated queries as the filters see them: one row a query in memory, the passages they were written for on disk."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from types import TracebackType

import numpy as np
import pyarrow as pa

from inranker.corpora.spilled import SpilledTexts

COLUMNS = pa.schema(
    [
        ("query_id", pa.string()),
        ("query", pa.string()),
        ("passage_id", pa.string()),
        ("prompt", pa.string()),
        ("sample", pa.int32()),
        ("mean_log_prob", pa.float64()),
        ("n_tokens", pa.int32()),
        ("prompt_tokens", pa.int32()),
        ("source", pa.string()),
        ("language", pa.string()),
    ]
)
TEXTS_AT_A_TIME = 1024


def query_id(passage_id: str, prompt: str, sample: int, query: str) -> str:
    """The name of a generated query: of its content, so that two jobs' queries of one name are one query.

    Eighty bits: among ten million queries two of one name are to be expected once in twenty-four billion jobs.
    """
    parts = "\0".join((passage_id, prompt, str(sample), query))
    return "s" + blake2b(parts.encode(errors="surrogatepass"), digest_size=10).hexdigest()


class RawQueries:
    """Every query that a job generated; a context manager that holds a temporary file of the passages' texts.

    A query takes some 200 bytes of memory, its passage none: 1.6 million queries fit in half a gigabyte.

    Args:
        tables: generations, in order: columns row, passage_id, passage, prompt, sample, query, mean_log_prob, n_tokens,
            prompt_tokens, source, language. Read once.
    """

    def __init__(self, tables: Iterable[pa.Table]) -> None:
        self.passage_texts = SpilledTexts()  # of each distinct passage
        self.numbers: dict[str, int] = {}
        passages, kept = array("q"), [COLUMNS.empty_table()]
        for table in tables:
            names, texts = table["passage_id"].to_pylist(), table["passage"].to_pylist()
            passages.extend(self._number(name, text) for name, text in zip(names, texts, strict=True))
            kept.append(_named(table))
        self.table = pa.concat_tables(kept).combine_chunks()
        self.passage_N = np.frombuffer(passages, dtype=np.int64) if len(passages) else np.zeros(0, np.int64)
        self.passage_texts.seal()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def passages(self) -> int:
        """Distinct passages that have a query."""
        return len(self.numbers)

    def texts(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        """The passages of some rows."""
        return [self.passage_texts[int(number)] for number in self.passage_N[rows]]

    def __enter__(self) -> "RawQueries":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.passage_texts.close()

    def _number(self, name: str, text: str) -> int:
        if name not in self.numbers:
            self.numbers[name] = self.passage_texts.add(text)
        return self.numbers[name]


def _named(table: pa.Table) -> pa.Table:
    """A table of generations without its passages, its queries named."""
    parts = (table[name].to_pylist() for name in ("passage_id", "prompt", "sample", "query"))
    names = pa.array([query_id(*row) for row in zip(*parts, strict=True)], pa.string())
    columns = [names, *(table[name].cast(COLUMNS.field(name).type) for name in COLUMNS.names[1:])]
    return pa.Table.from_arrays(columns, schema=COLUMNS)


class Asked:
    """The queries that a filter is asked about: those that the filters before it kept.

    Attributes:
        table: columns of `COLUMNS`; N rows, in the order of generation.
    """

    def __init__(self, raw: RawQueries, rows_N: np.ndarray) -> None:
        self.raw, self.rows_N = raw, rows_N
        self.table = raw.table.take(pa.array(rows_N))

    def __len__(self) -> int:
        return len(self.rows_N)

    def with_passages(self, at_a_time: int = TEXTS_AT_A_TIME) -> Iterator[tuple[slice, list[str], list[str]]]:
        """Queries and the passages they were written for, some at a time, with their place among the N rows."""
        for start in range(0, len(self), at_a_time):
            place = slice(start, min(start + at_a_time, len(self)))
            queries = self.table["query"].slice(place.start, place.stop - place.start).to_pylist()
            yield place, queries, self.raw.texts(self.rows_N[place])
