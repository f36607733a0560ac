"""Filters of queries that come again, word by word or nearly; the first of them stays."""

from collections import defaultdict
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any
from zlib import crc32

import numpy as np

from inranker.synthesis.filters.base import Context, Verdict
from inranker.synthesis.filters.text import words
from inranker.synthesis.raw import Asked

GRAM = 4
# Sixteen bands of four values find a pair that shares 0.8 of its grams with probability 0.9998, of 0.7 with 0.988, and
# keep 128 bytes of each query (https://ekzhu.com/datasketch/lsh.html has the curve).
BANDS, BAND_ROWS = 16, 4
HASHED_AT_A_TIME = 10_000


def duplicates(asked: Asked, context: Context) -> Verdict:
    """No query twice: case, punctuation and spacing aside, whatever its passage."""
    hashes = np.fromiter(
        (
            int.from_bytes(blake2b(" ".join(words(query)).encode(errors="surrogatepass"), digest_size=8).digest())
            for query in asked.table["query"].to_pylist()
        ),
        np.uint64,
        len(asked),
    )
    keep = np.zeros(len(asked), dtype=bool)
    keep[np.unique(hashes, return_index=True)[1]] = True
    return Verdict(keep)


def near_duplicates(asked: Asked, context: Context) -> Verdict:
    """No query that is nearly an earlier one that is kept: MinHash finds candidates, their 4-grams decide.

    Broder, On the resemblance and containment of documents (1997).
    """
    queries = asked.table["query"].to_pylist()
    bands_NB = band_hashes(queries)
    shared_NB = _shared(bands_NB)
    keep = np.ones(len(asked), dtype=bool)
    holders: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for row in np.flatnonzero(shared_NB.any(axis=1)).tolist():
        own = grams(queries[row])
        buckets = [(band, int(bands_NB[row, band])) for band in np.flatnonzero(shared_NB[row]).tolist()]
        others = {other for bucket in buckets for other in holders[bucket]}
        if any(resemblance(own, grams(queries[other])) >= context.options.near_duplicate for other in others):
            keep[row] = False
        else:
            for bucket in buckets:
                holders[bucket].append(row)
    return Verdict(keep)


def grams(query: str) -> frozenset[str]:
    """Runs of four characters of the query's words, spaces included; a shorter query is one run."""
    text = " ".join(words(query))
    return frozenset(text[start : start + GRAM] for start in range(max(1, len(text) - GRAM + 1)))


def resemblance(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard's: the part of all grams that both have."""
    return len(one & other) / len(one | other)


def band_hashes(queries: list[str]) -> np.ndarray:
    """uint64 [queries, bands]: two queries that share much share a band's hash."""
    bands_NB = np.zeros((len(queries), BANDS), dtype=np.uint64)
    for start in range(0, len(queries), HASHED_AT_A_TIME):
        some = queries[start : start + HASHED_AT_A_TIME]
        values = np.stack([sketch.hashvalues for sketch in _sketches(some)]).astype(np.uint64)
        bands_NB[start : start + len(some)] = _mixed(values.reshape(len(some), BANDS, BAND_ROWS))
    return bands_NB


def _sketches(queries: list[str]) -> Iterator[Any]:
    from datasketch import MinHash

    sets = ([gram.encode(errors="surrogatepass") for gram in grams(query)] for query in queries)
    yield from MinHash.generator(sets, num_perm=BANDS * BAND_ROWS, hashfunc=crc32)


def _mixed(values_NBR: np.ndarray) -> np.ndarray:
    """A band's values as one hash (FNV-1a's steps, over 32-bit values)."""
    mixed = np.full(values_NBR.shape[:2], 0xCBF29CE484222325, dtype=np.uint64)
    for place in range(values_NBR.shape[2]):
        mixed = (mixed ^ values_NBR[:, :, place]) * np.uint64(0x100000001B3)
    return mixed


def _shared(bands_NB: np.ndarray) -> np.ndarray:
    """Where a band's hash is another query's too; all others, which are most, need no further look."""
    shared = np.zeros(bands_NB.shape, dtype=bool)
    for band in range(bands_NB.shape[1]):
        _, inverse, counts = np.unique(bands_NB[:, band], return_inverse=True, return_counts=True)
        shared[:, band] = counts[inverse] > 1
    return shared
