"""Parts of a collection that a sample draws from alike: by where a passage comes from, or by what it is about.

Clusters are spherical k-means over hashed words. Everything that is summed is a whole number held in a float64, so sums
are exact in any order, and the same collection falls into the same clusters on every machine.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from inranker.errors import UserError
from inranker.retrieval.analysis import Analyser, analyser
from inranker.retrieval.sampling import stable_hash
from inranker.types import Passage

DIMENSIONS = 512
FITTED = 10_000  # passages that clusters are made from; the others join the nearest
ROUNDS = 10
BATCH = 1024
SEEDS_PER_CLUSTER = 20  # passages that a first centre is chosen from
SCALE = 1024  # centres are rounded to so many steps, which keeps products whole

Stratify = Callable[[Iterable[Passage]], Iterator[int]]
"""Passages -> the number of the part that each is in."""


def parse_strata(text: str) -> tuple[str, str]:
    """`source:REGEX` or `cluster:N` as its two halves.

    Raises:
        UserError: it is neither.
    """
    kind, _, value = text.partition(":")
    if kind == "source" and value:
        try:
            re.compile(value)
        except re.error as error:
            raise UserError(f"field strata: {value!r} is no regular expression ({error}); mend it") from error
        return kind, value
    if kind == "cluster" and value.isdigit() and int(value) > 1:
        return kind, value
    raise UserError(f"field strata is {text!r}; write source:REGEX, as in source:^[^-]+, or cluster:N with N above 1")


def by_source(pattern: str) -> Stratify:
    """Parts by what an expression finds in a passage's id: its first group, or all of it; "" where it finds nothing."""
    expression = re.compile(pattern)

    def stratify(passages: Iterable[Passage]) -> Iterator[int]:
        numbers: dict[str, int] = {}
        for passage in passages:
            found = expression.search(passage.passage_id)
            source = "" if found is None else found.group(1 if expression.groups else 0) or ""
            yield numbers.setdefault(source, len(numbers))

    return stratify


@dataclass(frozen=True)
class Clusters:
    """Centres (whole numbers, [clusters, dimensions]) and what makes passages comparable with them."""

    centres_CD: np.ndarray
    weights_D: np.ndarray
    terms: Analyser

    def __call__(self, passages: Iterable[Passage]) -> Iterator[int]:
        """The nearest centre of each passage; of equally near ones the first."""
        batch: list[Passage] = []
        for passage in passages:
            batch.append(passage)
            if len(batch) == BATCH:
                yield from self._nearest(batch)
                batch = []
        if batch:
            yield from self._nearest(batch)

    def _nearest(self, batch: list[Passage]) -> list[int]:
        return nearest(word_counts(batch, self.terms) * self.weights_D, self.centres_CD).tolist()


def fit_clusters(passages: Iterable[Passage], count: int, language: str, seed: int) -> Clusters:
    """Clusters of a collection, from the passages whose hash comes first.

    Raises:
        UserError: the language has no analyser, or there are fewer passages than clusters.
    """
    terms = analyser(language)
    chosen = _first_by_hash(passages, FITTED, seed)
    if len(chosen) < count:
        raise UserError(f"field strata: {count} clusters of {len(chosen)} passages; ask for fewer")
    words_ND = word_counts(chosen, terms)
    held_D = (words_ND > 0).sum(axis=0)
    weights_D = np.rint(16 * np.log(len(chosen) / np.maximum(held_D, 1)))  # rarer words say more, in whole steps
    weighted_ND = words_ND * weights_D
    centres_CD = _first_centres(weighted_ND[: SEEDS_PER_CLUSTER * count], count)
    for _ in range(ROUNDS):
        of_N = nearest(weighted_ND, centres_CD)
        sums_CD = np.zeros_like(centres_CD)
        np.add.at(sums_CD, of_N, weighted_ND)
        empty_C = ~sums_CD.any(axis=1)
        sums_CD[empty_C] = centres_CD[empty_C]
        moved_CD = _centres(sums_CD)
        if np.array_equal(moved_CD, centres_CD):
            break
        centres_CD = moved_CD
    return Clusters(centres_CD, weights_D, terms)


def word_counts(passages: Iterable[Passage], terms: Analyser) -> np.ndarray:
    """Which of the hashed words each passage has: 0 or 1, float64 [passages, dimensions]."""
    rows = [[zlib.crc32(term.encode()) % DIMENSIONS for term in terms.terms(each.contents)] for each in passages]
    words_ND = np.zeros((len(rows), DIMENSIONS))
    for row, places in enumerate(rows):
        words_ND[row, places] = 1.0
    return words_ND


def nearest(weighted_ND: np.ndarray, centres_CD: np.ndarray) -> np.ndarray:
    """Number of the centre with the greatest cosine, for each row."""
    # Whole numbers below 2**53: the product is exact whatever the order of its sums.
    return np.argmax(weighted_ND @ centres_CD.T, axis=1)


def _first_centres(weighted_ND: np.ndarray, count: int) -> np.ndarray:
    """Centres to begin with: the first row, then again and again the row farthest from those chosen."""
    length_N = np.sqrt((weighted_ND * weighted_ND).sum(axis=1))
    chosen = [int(np.argmax(length_N > 0))]
    nearness_N = np.where(length_N > 0, -np.inf, np.inf)  # a passage without words is far from all, and no centre
    while len(chosen) < count:
        centre_D = _centres(weighted_ND[chosen[-1:]])[0]
        nearness_N = np.maximum(nearness_N, weighted_ND @ centre_D / np.maximum(length_N, 1.0))
        nearness_N[chosen] = np.inf
        chosen.append(int(np.argmin(nearness_N)))
    return _centres(weighted_ND[chosen])


def _centres(sums_CD: np.ndarray) -> np.ndarray:
    """Rows scaled to one length, in whole steps."""
    length_C1 = np.sqrt((sums_CD * sums_CD).sum(axis=1, keepdims=True))
    return np.rint(sums_CD / np.maximum(length_C1, 1.0) * SCALE)


def _first_by_hash(passages: Iterable[Passage], count: int, seed: int) -> list[Passage]:
    """Passages in the order of their hash: a draw that does not depend on the order of the collection."""
    kept: list[tuple[int, Passage]] = []
    for passage in passages:
        kept.append((stable_hash(seed, "cluster", passage.passage_id), passage))
        if len(kept) >= 2 * count:
            kept = sorted(kept)[:count]
    return [passage for _, passage in sorted(kept)[:count]]
