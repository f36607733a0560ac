"""Rows of JSON lines, CSV, TSV and Parquet files as dictionaries, one at a time, whichever of them it is."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from inranker.corpora.lines import lines, objects, whole_lines
from inranker.errors import UserError

Rows = Iterator[tuple[int, dict[str, Any]]]
Columns = tuple[str, ...]
ROWS_AT_A_TIME = 1024
LONGEST_CELL = 2**24  # characters; the csv module's own limit is 131,072


def records(path: Path, columns: Columns, optional: Columns = ()) -> Rows:
    """The rows of a file with their numbers: lines of a text file, rows of a Parquet file.

    Args:
        path: .jsonl, .csv or .tsv, plain or gzip-compressed, or .parquet.
        columns: those that are wanted; a CSV or TSV file names its own in its first line.
        optional: those that are taken where they are.

    Raises:
        UserError: a file that cannot be read, is of another kind, or has not the columns.
    """
    kind = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    if kind not in KINDS:
        raise UserError(f"{path}: a file of this kind cannot be read; give one that ends in .{', .'.join(KINDS)}")
    return KINDS[kind](path, columns, optional)


def _json_lines(path: Path, columns: Columns, optional: Columns) -> Rows:
    return objects(path)


def _csv(path: Path, columns: Columns, optional: Columns) -> Rows:
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader((line for _, line in whole_lines(path)), strict=True)
    try:
        header = next(reader, [])
        _require(path, columns, header)
        for cells in reader:
            if cells:
                yield reader.line_num, _row(path, reader.line_num, header, cells)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not CSV ({error}); quote cells that hold commas") from error


def _tsv(path: Path, columns: Columns, optional: Columns) -> Rows:
    header: list[str] = []
    for number, line in lines(path):
        cells = line.split("\t")
        if not header:
            header = cells
            _require(path, columns, header)
        else:
            yield number, _row(path, number, header, cells)
    _require(path, columns, header)


def _parquet(path: Path, columns: Columns, optional: Columns) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            _require(path, columns, file.schema_arrow.names)
            number = 0
            there = [*columns, *(name for name in optional if name in file.schema_arrow.names)]
            for batch in file.iter_batches(ROWS_AT_A_TIME, columns=there):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not a readable Parquet file ({error}); fetch or write it again") from error


def _row(path: Path, number: int, header: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(header):
        raise UserError(
            f"{path}, line {number}: {len(cells)} columns where the first line names {len(header)}; mend the line"
        )
    return dict(zip(header, cells, strict=True))


def _require(path: Path, columns: Columns, header: list[str]) -> None:
    for column in columns:
        if column not in header:
            raise UserError(
                f"{path}: there is no column {column!r}; name the right one of {', '.join(header) or 'none'} in the "
                "collection's description"
            )


KINDS: dict[str, Callable[[Path, Columns, Columns], Rows]] = {
    "jsonl": _json_lines,
    "csv": _csv,
    "tsv": _tsv,
    "parquet": _parquet,
}
