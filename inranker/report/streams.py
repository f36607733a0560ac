"""Figures of any number of values in bounded memory: what lies between a job's shards and its page.

Each class takes arrays as they come, a shard at a time, and its result does not depend on how they were cut.
"""

import hashlib
import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MOST_BINS = 4096
FINEST_EXPONENT = -24  # bins start 2^-24 wide: narrower than a float32 can tell logits apart
MOST_PLACE = 1 << 52  # a float64 still holds every whole number
MOST_HASHES = 1 << 18


class Histogram:
    """Counts over equal bins whose width, a power of two, doubles whenever the values no longer fit.

    Doubling merges neighbours exactly (bin i becomes i // 2), so the counts are those of a histogram that had known the
    range from the start.
    """

    def __init__(self) -> None:
        self.exponent = FINEST_EXPONENT
        self.bins: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.lowest, self.highest = math.inf, -math.inf

    def add(self, values: np.ndarray) -> None:
        """Count finite values; others are left out."""
        values = np.asarray(values, dtype=np.float64)
        values = values[np.isfinite(values)]
        if not len(values):
            return
        self.count += len(values)
        self.total += float(values.sum())
        self.lowest, self.highest = min(self.lowest, float(values.min())), max(self.highest, float(values.max()))
        while not self._fits():
            self._widen()
        places, counts = np.unique(np.floor(values / self.width).astype(np.int64), return_counts=True)
        for place, count in zip(places.tolist(), counts.tolist(), strict=True):
            self.bins[place] = self.bins.get(place, 0) + count

    @property
    def width(self) -> float:
        """Width of a bin."""
        return 2.0**self.exponent

    @property
    def mean(self) -> float:
        """Mean of the values; NaN without any."""
        return self.total / self.count if self.count else math.nan

    def quantile(self, share: float) -> float:
        """The value below which a share of the values lies, to within a bin; NaN without any."""
        wanted, seen = share * self.count, 0
        for place in sorted(self.bins):
            if seen + self.bins[place] >= wanted:
                inside = (wanted - seen) / self.bins[place]
                value = (place + inside) * self.width
                return min(max(value, self.lowest), self.highest)
            seen += self.bins[place]
        return math.nan

    def over(self, low: float, high: float, bins: int) -> np.ndarray:
        """Counts over equal bins between two bounds, int64 [bins]; values outside go to the first or last."""
        counts = np.zeros(bins, dtype=np.int64)
        step = (high - low) / bins or 1.0
        for place, count in self.bins.items():
            counts[min(max(int(((place + 0.5) * self.width - low) / step), 0), bins - 1)] += count
        return counts

    def _place(self, value: float) -> int:
        return math.floor(value / self.width)

    def _fits(self) -> bool:
        low, high = self._place(self.lowest), self._place(self.highest)
        return high - low < MOST_BINS and max(abs(low), abs(high)) < MOST_PLACE

    def _widen(self) -> None:
        self.exponent += 1
        merged: dict[int, int] = {}
        for place, count in self.bins.items():
            merged[place // 2] = merged.get(place // 2, 0) + count
        self.bins = merged


class Extremes:
    """The rows with the highest keys, with what belongs to each; ties go to the row that came first."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.heap: list[tuple[float, int, Any]] = []
        self.seen = 0

    def wanted(self, keys: np.ndarray) -> np.ndarray:
        """Places of the keys [n] that are among the highest so far; only these need their texts looked up."""
        keys = np.where(np.isnan(keys), -np.inf, keys)
        floor = self.heap[0][0] if len(self.heap) == self.size else -np.inf
        places = np.flatnonzero(keys > floor)
        if len(places) > self.size:
            # A stable sort of the negated keys keeps the first of equals, as the heap does.
            places = np.sort(places[np.argsort(-keys[places], kind="stable")[: self.size]])
        return places

    def add(self, keys: Iterable[float], items: Iterable[Any]) -> None:
        """Offer rows, in their order."""
        for key, item in zip(keys, items, strict=True):
            entry = (float(key), -self.seen, item)
            self.seen += 1
            if len(self.heap) < self.size:
                heapq.heappush(self.heap, entry)
            elif entry[0] > self.heap[0][0]:
                heapq.heapreplace(self.heap, entry)

    def best(self) -> list[tuple[float, Any]]:
        """(key, item), highest first."""
        return [(key, item) for key, _, item in sorted(self.heap, key=lambda entry: entry[:2], reverse=True)]


class Sample:
    """A uniform sample of rows of numbers, by the smallest of seeded random priorities."""

    def __init__(self, size: int, columns: int, seed: int = 0) -> None:
        self.size = size
        self.generator = np.random.default_rng(seed)
        self.priority = np.zeros(0)
        self.rows = np.zeros((0, columns))

    def add(self, rows: np.ndarray) -> None:
        """Offer rows [n, columns]."""
        priority = np.concatenate([self.priority, self.generator.random(len(rows))])
        every = np.concatenate([self.rows, np.asarray(rows, dtype=np.float64)])
        kept = np.sort(np.argsort(priority, kind="stable")[: self.size])
        self.priority, self.rows = priority[kept], every[kept]


@dataclass(frozen=True)
class Repeats:
    """How often keys come back: `distinct` keys and `rows` of them, both exact unless `estimated`."""

    rows: int
    distinct: int
    repeated: int
    estimated: bool


class Tally:
    """How often each key was seen, for a uniform sample of the keys once there are too many.

    A key is kept while its hash is below a bound that halves whenever the table is full, so that what remains is every
    occurrence of a random share of the keys. Gibbons, Distinct Sampling for Highly-Accurate Answers to Distinct Values
    Queries and Event Reports (VLDB 2001).
    """

    def __init__(self, most: int = MOST_HASHES) -> None:
        self.most = most
        self.bound = 1 << 64
        self.seen: dict[int, int] = {}
        self.rows = 0

    def add(self, column: pa.ChunkedArray) -> None:
        """Count the occurrences of each string of a column."""
        for found in pc.value_counts(column).to_pylist():
            self._count(found["values"], found["counts"])

    def _count(self, key: str, times: int) -> None:
        self.rows += times
        hashed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")
        if hashed >= self.bound:
            return
        self.seen[hashed] = self.seen.get(hashed, 0) + times
        while len(self.seen) > self.most:
            self.bound //= 2
            self.seen = {kept: count for kept, count in self.seen.items() if kept < self.bound}

    @property
    def share(self) -> float:
        """Share of the keys that is kept."""
        return self.bound / (1 << 64)

    def counts(self) -> np.ndarray:
        """Occurrences of each kept key, int64."""
        return np.fromiter(self.seen.values(), dtype=np.int64, count=len(self.seen))

    def repeats(self) -> Repeats:
        """Keys that were seen more than once; `repeated` counts the occurrences after each key's first."""
        counts, exact = self.counts(), self.share == 1.0
        distinct = len(counts) if exact else round(len(counts) / self.share)
        repeated = int((counts - 1).sum())
        return Repeats(self.rows, distinct, repeated if exact else round(repeated / self.share), not exact)
