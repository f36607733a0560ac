"""The label sets that InRanker's authors released: their formats, read line by line.

* `msmarco`: InRanker_msmarco.tsv, tab-separated `positive_score negative_score query_id passage_id`.
  https://huggingface.co/datasets/unicamp-dl/InRanker-msmarco
* `beir`: inpars_beir_dataset.jsonl, one `{query, contents, true_logit, false_logit}` a line.
  https://huggingface.co/datasets/unicamp-dl/InRanker-BEIR
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from inranker.corpora.lines import lines, objects, text_field
from inranker.errors import UserError
from inranker.fingerprint import CHUNK_BYTES
from inranker.labeling.dedupe import KEY, text_keys

Item = TypeVar("Item")

LINES_AT_ONCE = 10_000
CENTRED = 1e-3  # |true + false| of centred logits is rounding; that of raw ones is of the size of the logits


class Release(NamedTuple):
    """A file as it was released."""

    file: str
    md5: str


RELEASES = {
    "msmarco": Release("InRanker_msmarco.tsv", "3fc9840ea2a8ad17966dec11c48872bf"),
    "beir": Release("inpars_beir_dataset.jsonl", "89d914af6d231a32458fcf84a8de61a6"),
}


class Line(NamedTuple):
    """A released label. The texts are None where the file has only ids."""

    number: int
    query_id: str
    passage_id: str
    false_logit: float
    true_logit: float
    query: str | None = None
    passage: str | None = None


@dataclass(frozen=True)
class Scan:
    """What one pass over the file tells: the logits [N, 2] of every line, and whether its ids occur first there."""

    logits_N2: np.ndarray
    first_N: np.ndarray

    @property
    def counts(self) -> dict[str, int]:
        """Lines, and how many of them repeat the ids of an earlier one and are left out."""
        return {"lines": len(self.first_N), "duplicates": int((~self.first_N).sum())}


def scan_file(file: str, form: str, max_rows: int | None) -> Scan:
    """Read the logits and find the repeated pairs; 24 bytes a line are in memory.

    Raises:
        UserError: a line is malformed, or there is none.
    """
    keys, logits = [np.zeros(0, KEY)], [np.zeros((0, 2), np.float32)]
    for batch in batches(released_lines(file, form, max_rows), LINES_AT_ONCE):
        keys.append(text_keys([line.query_id for line in batch], [line.passage_id for line in batch]))
        logits.append(np.array([(line.false_logit, line.true_logit) for line in batch], np.float32))
    keys_N = np.concatenate(keys)
    if not len(keys_N):
        raise UserError(f"{file} holds no labels; name the released file")
    order = np.lexsort((keys_N["low"], keys_N["high"]))  # stable: of equal keys the earliest line comes first
    ordered = keys_N[order]
    first_N = np.ones(len(keys_N), bool)
    first_N[order[1:][ordered[1:] == ordered[:-1]]] = False
    return Scan(np.concatenate(logits), first_N)


def released_lines(file: str, form: str, max_rows: int | None) -> Iterator[Line]:
    """The labels of the file, in order.

    Raises:
        UserError: a line is malformed; the message gives its number.
    """
    return islice(FORMATS[form](Path(file)), max_rows)


def _msmarco_lines(path: Path) -> Iterator[Line]:
    for number, text in lines(path):
        fields = text.split("\t")
        if len(fields) != 4 or not all(part.strip() for part in fields):
            raise UserError(
                f"{path}, line {number}: {len(fields)} fields, not positive_score, negative_score, query_id and "
                "passage_id separated by tabs; fetch the file again"
            )
        logits = [_number(fields[place], name, path, number) for place, name in enumerate(("positive", "negative"))]
        yield Line(number, fields[2].strip(), fields[3].strip(), logits[1], logits[0])


def _beir_lines(path: Path) -> Iterator[Line]:
    for number, value in objects(path):
        query, passage = (text_field(value, name, path, number) for name in ("query", "contents"))
        logits = [_number(value.get(name), name, path, number) for name in ("false_logit", "true_logit")]
        ids = [hashlib.blake2b(text.encode(), digest_size=12).hexdigest() for text in (query, passage)]
        yield Line(number, ids[0], ids[1], logits[0], logits[1], query, passage)


FORMATS: dict[str, Callable[[Path], Iterator[Line]]] = {"msmarco": _msmarco_lines, "beir": _beir_lines}


def _number(value: Any, name: str, path: Path, number: int) -> float:
    try:
        if value is None or isinstance(value, bool):
            raise ValueError
        return float(value)
    except (TypeError, ValueError):
        raise UserError(f"{path}, line {number}: {name} is {value!r}, not a number; fetch the file again") from None


def md5_of(file: str) -> str:
    """md5 (hex) of a file as it lies on disk, as the releases state it.

    Raises:
        UserError: it cannot be read.
    """
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with open(file, "rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise UserError(f"file: {file} cannot be read ({error.strerror}); name the released file") from error
    return digest.hexdigest()


def is_centred(logits_N2: np.ndarray, file: str, stated: bool | None) -> bool:
    """Whether the logits of each pair [N, 2] add up to 0, up to rounding.

    Raises:
        UserError: something else was stated.
    """
    finite = logits_N2[np.isfinite(logits_N2).all(axis=1)].astype(np.float64)
    if not len(finite):
        return False
    size, off = np.abs(finite[:, 1] - finite[:, 0]).mean(), np.abs(finite.sum(axis=1)).mean()
    found = bool(off <= CENTRED * size)
    if stated is not None and stated != found:
        raise UserError(
            f"centred: {str(stated).lower()} is not true of {file}, where |true + false| is {off:.3g} on "
            f"average and |true − false| {size:.3g}; leave the field out"
        )
    return found


def batches(stream: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """A stream in lists of `size`; the last may be shorter."""
    iterator = iter(stream)
    while batch := list(islice(iterator, size)):
        yield batch
