"""Which pairs make up which update: a pure function of (seed, epoch, step) over the global batch.

Nothing here knows of workers or of checkpoints. A worker takes its slice of a batch, and a resumed job asks for the
batch of the step it stopped at; both get what an undisturbed job with any number of workers would.
"""

from dataclasses import dataclass

import numpy as np

from inranker.errors import UserError

# Roles keep the random streams of one (seed, epoch) apart.
PERMUTE, SHUFFLE_BATCHES, DRAW_NEGATIVES = 0, 1, 2
IGNORED = -1  # fills the rows of a batch of whole queries up to its fixed width


@dataclass(frozen=True)
class OrderRules:
    """What the order depends on besides the data.

    `length_window` batches are sorted by length together, then the batches of the epoch are shuffled, so that a batch
    holds pairs of like length and yet no length comes first. `negatives_per_positive` None takes every pair.
    `grouped` keeps the pairs of a query in one batch.
    """

    seed: int
    batch_size: int
    length_window: int = 50
    negatives_per_positive: int | None = None
    grouped: bool = False


class Order:
    """Batches of row numbers.

    Args:
        rules: see `OrderRules`.
        lengths: tokens of each row, [n].
        positive: whether the row is a relevant pair, bool [n].
        groups: number of the row's query, [n]; rows of a query need not be adjacent.

    Raises:
        UserError: there is nothing to train on, or (grouped) no query fits into a batch.
    """

    def __init__(self, rules: OrderRules, lengths: np.ndarray, positive: np.ndarray, groups: np.ndarray) -> None:
        self.rules = rules
        self.lengths = np.asarray(lengths, dtype=np.int32)
        self.positive = np.asarray(positive, dtype=bool)
        self.groups = np.asarray(groups, dtype=np.int64)
        if rules.negatives_per_positive is not None and not self.positive.any():
            raise UserError("no pair is positive, so there is nothing to draw negatives for; check the pairs' `kind`")
        if not len(self.lengths):
            raise UserError("there are no pairs to train on")
        self._epoch, self._batches = 0, self._plan(0)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one pass; the same in every epoch."""
        return len(self._batches)

    def batch(self, step: int) -> np.ndarray:
        """Rows of the batch of update `step` (0-based), int64; every rank computes all of them."""
        epoch, within = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._plan(epoch)
        rows = self._batches[within]
        return rows[rows != IGNORED]

    def _plan(self, epoch: int) -> np.ndarray:
        """All batches of an epoch, [steps, width]."""
        rows = self._rows(epoch)
        plan = self._grouped_batches(rows, epoch) if self.rules.grouped else self._pair_batches(rows, epoch)
        return plan[self._random(epoch, SHUFFLE_BATCHES).permutation(len(plan))]

    def _random(self, epoch: int, role: int) -> np.random.Generator:
        return np.random.default_rng([self.rules.seed, epoch, role])

    def _rows(self, epoch: int) -> np.ndarray:
        """The rows of an epoch: all, or the positives and as many negatives of their query as are asked for."""
        if self.rules.negatives_per_positive is None:
            return np.arange(len(self.lengths))
        negatives = np.flatnonzero(~self.positive)
        negatives = negatives[self._random(epoch, DRAW_NEGATIVES).permutation(len(negatives))]
        negatives = negatives[np.argsort(self.groups[negatives], kind="stable")]
        groups = self.groups[negatives]
        place = np.arange(len(groups)) - np.searchsorted(groups, groups)  # of each negative among its query's
        wanted = np.bincount(self.groups[self.positive], minlength=int(self.groups.max()) + 1)
        drawn = negatives[place < wanted[groups] * self.rules.negatives_per_positive]
        return np.sort(np.concatenate([np.flatnonzero(self.positive), drawn]))

    def _pair_batches(self, rows: np.ndarray, epoch: int) -> np.ndarray:
        return deal(rows, self.lengths, self.rules.batch_size, self.rules.length_window, self._random(epoch, PERMUTE))

    def _grouped_batches(self, rows: np.ndarray, epoch: int) -> np.ndarray:
        """Whole queries, as many in a batch as have room."""
        rows = rows[np.argsort(self.groups[rows], kind="stable")]
        starts = np.flatnonzero(np.r_[True, np.diff(self.groups[rows]) != 0])
        sizes = np.diff(np.r_[starts, len(rows)])
        if sizes.max() > self.rules.batch_size:
            raise UserError(
                f"a query has {sizes.max()} pairs, more than batch_size {self.rules.batch_size}, and this loss needs "
                "a query's pairs in one batch; raise batch_size or set negatives_per_positive"
            )
        longest = np.maximum.reduceat(self.lengths[rows], starts)
        random = self._random(epoch, PERMUTE)
        taken = [
            np.concatenate([rows[starts[q] : starts[q] + sizes[q]] for q in members])
            for members in deal_queries(sizes, longest, self.rules.batch_size, self.rules.length_window, random)
        ]
        plan = np.full((len(taken), max(map(len, taken))), IGNORED)
        for batch, own in enumerate(taken):
            plan[batch, : len(own)] = own
        return plan


def deal_queries(
    sizes: np.ndarray, longest: np.ndarray, size: int, window: int, random: np.random.Generator
) -> list[np.ndarray]:
    """Queries in random order as batches of at most `size` pairs; queries with as many pairs go together.

    Largest first, so that how many batches there are depends on the sizes alone and is the same in every epoch.

    Args:
        sizes: pairs of each query, none more than `size`.
        longest: tokens of its longest pair.
        size: pairs of a batch.
        window: as `deal`'s, among queries of one size.
    """
    kinds = np.unique(sizes)
    if len(kinds) == 1:
        return list(deal(np.arange(len(sizes)), longest, size // int(kinds[0]), window, random))
    dealt: list[list[int]] = []
    room = 0
    for pairs in kinds[::-1].tolist():
        queries = np.flatnonzero(sizes == pairs)
        for query in by_length(queries[random.permutation(len(queries))], longest, size // pairs * window).tolist():
            if pairs > room:
                dealt.append([])
                room = size
            dealt[-1].append(query)
            room -= pairs
    return [np.array(members) for members in dealt]


def deal(rows: np.ndarray, lengths: np.ndarray, size: int, window: int, random: np.random.Generator) -> np.ndarray:
    """Rows in random order as batches of `size`, those of each `window` batches sorted by length.

    Every row is in at least one batch: the last one is filled up from the start of the permutation.

    Returns:
        [batches, size].
    """
    rows = rows[random.permutation(len(rows))]
    rows = np.resize(rows, -(-len(rows) // size) * size)
    if window > 1:
        rows = by_length(rows, lengths, size * window)
    return rows.reshape(-1, size)


def by_length(rows: np.ndarray, lengths: np.ndarray, window: int) -> np.ndarray:
    """Rows in which each `window` of them are sorted by length, shortest first."""
    return rows[np.lexsort((lengths[rows], np.arange(len(rows)) // window))]


def pieces(rows: np.ndarray, groups: np.ndarray | None, count: int) -> list[np.ndarray]:
    """A batch cut into `count` parts, in order; part `i` goes to worker `i // accumulation`.

    Pairs are dealt out in turn, so that every part has its share of long ones (the batch is sorted by length). With
    `groups` [batch] whole queries are dealt out. A part may be smaller than another, or empty.
    """
    if groups is None:
        return [rows[part::count] for part in range(count)]
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[number]  # queries numbered as they come: the batch is sorted by length
    return [rows[place % count == part] for part in range(count)]
