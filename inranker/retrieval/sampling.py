"""Which passages a query is paired with: its positives, and negatives drawn from its candidates."""

import random
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from inranker.corpora.near_duplicates import containment, shingles
from inranker.corpora.texts import PassageTexts
from inranker.errors import UserError
from inranker.retrieval import Retriever
from inranker.types import Query, ScoredDoc

NOT_RETRIEVED = 0  # stands for a null rank in arrays; ranks begin at 1
POSITIVE = -1  # in place of a band
Batch = list[tuple[Query, list[str]]]
"""Queries with the ids of their positives."""


def stable_hash(*parts: object) -> int:
    """64 bits in place of a random number: the same for the same parts on every machine."""
    return int.from_bytes(blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


class Band(NamedTuple):
    """Ranks to draw from, both ends included, and how many negatives for each positive."""

    first: int
    last: int
    negatives: int


def parse_bands(texts: list[str]) -> tuple[Band, ...]:
    """The bands of `FIRST-LAST:COUNT`, such as 1-100:3.

    Raises:
        UserError: one that cannot be read, is empty, or overlaps another one.
    """
    bands: list[Band] = []
    for text in texts:
        found = re.fullmatch(r"(\d+)-(\d+):(\d+)", text.strip())
        band = Band(*map(int, found.groups())) if found else Band(0, 0, 0)
        if not 1 <= band.first <= band.last:
            raise UserError(f"field bands: {text!r} is no band; write FIRST-LAST:COUNT, as in 1-100:3")
        if any(band.first <= other.last and other.first <= band.last for other in bands):
            raise UserError(f"field bands: {text!r} overlaps another band; let each rank be in one")
        bands.append(band)
    return tuple(bands)


@dataclass(frozen=True)
class Recipe:
    """How negatives are drawn. `spare` more are drawn where some may be found to be no negatives afterwards."""

    bands: tuple[Band, ...]
    seed: int
    spare: bool = False

    @property
    def depth(self) -> int:
        """How deep a ranking must be."""
        return max(band.last for band in self.bands)


class Drawn(NamedTuple):
    """What one query is paired with: (passage id, rank) of its positives, and of each band's negatives in the order of
    the draw; and how many passages of the band there were to draw from."""

    positives: list[tuple[str, int]]
    negatives: list[list[tuple[str, int]]]
    candidates: list[int]


def draw_query(query_id: str, positives: list[str], ranking: list[ScoredDoc], recipe: Recipe) -> Drawn:
    """The pairs of one query: its positives, wherever they were ranked, and negatives drawn from the ranking.

    Args:
        query_id: the query's id, which the draw depends on.
        positives: ids of its relevant passages; those are never drawn.
        ranking: candidates, best first.
        recipe: how to draw.
    """
    ranks = {document.passage_id: rank for rank, document in enumerate(ranking, start=1)}
    relevant = set(positives)
    negatives, candidates = [], []
    for number, band in enumerate(recipe.bands):
        span = range(band.first - 1, min(band.last, len(ranking)))
        places = [place for place in span if ranking[place].passage_id not in relevant]
        wanted = band.negatives * len(positives)
        name = query_id if not number else f"{query_id} {number}"
        drawn = draw_in_order(places, 2 * wanted if recipe.spare else wanted, recipe.seed, name)
        negatives.append([(ranking[place].passage_id, place + 1) for place in drawn])
        candidates.append(len(places))
    return Drawn([(name, ranks.get(name, NOT_RETRIEVED)) for name in positives], negatives, candidates)


def draw_batch(retriever: Retriever, batch: Batch, recipe: Recipe, threads: int | None) -> list[Drawn]:
    """Search for a batch of queries, each with the ids of its positives, and draw their pairs."""
    run = retriever.search([query for query, _ in batch], recipe.depth, threads)
    return [draw_query(query.query_id, positives, run[query.query_id], recipe) for query, positives in batch]


def sample_negatives(candidates: Sequence[int], count: int, seed: int, query_id: str) -> list[int]:
    """As draw_in_order, but in the candidates' own order, which must be growing."""
    return sorted(draw_in_order(candidates, count, seed, query_id))


def draw_in_order(candidates: Sequence[int], count: int, seed: int, query_id: str) -> list[int]:
    """`count` of the candidates without replacement, as they were drawn; all of them where they are fewer.

    The draw is a function of the seed, the query's id and the candidates alone: it does not matter which other queries
    are mined, in what order or where; fewer are the head of more. Only `Random.random` is used, which Python promises
    never to change.
    """
    places = list(range(len(candidates)))
    generator = random.Random(f"{seed} {query_id}")
    taken = min(count, len(places))
    for place in range(taken):  # the first steps of a Fisher-Yates shuffle
        other = place + int(generator.random() * (len(places) - place))
        places[place], places[other] = places[other], places[place]
    return [candidates[place] for place in places[:taken]]


class Draw:
    """The pairs of a job before their texts are known: parallel arrays, grouped by query."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.numbers: dict[str, int] = {}  # distinct passage ids, in order of appearance
        self.query, self.passage, self.rank, self.band = (array("i") for _ in range(4))
        self.candidates = array("i")  # of each query, in all bands
        self.short = self.missing = self.queries = self.near_duplicates = 0

    @property
    def positive(self) -> np.ndarray:
        """Whether each pair is a positive (bool [pairs])."""
        return np.asarray(self.band) == POSITIVE

    def add_query(self, query: int, drawn: Drawn) -> None:
        """The pairs of one query, its negatives by rank; fewer than wanted are all taken, and the lack is counted.

        Args:
            query: the query's number in the job.
            drawn: its pairs.
        """
        wanted = [band.negatives * len(drawn.positives) for band in self.recipe.bands]
        for name, rank in drawn.positives:
            self._add(query, name, rank, POSITIVE)
        for band, negatives in enumerate(drawn.negatives):
            # Spare ones stay in the order of the draw: leave_out_near_duplicates takes the first that will do.
            by_rank = negatives if self.recipe.spare else sorted(negatives, key=lambda negative: negative[1])
            for name, rank in by_rank:
                self._add(query, name, rank, band)
        missing = sum(max(0, want - len(got)) for want, got in zip(wanted, drawn.negatives, strict=True))
        self.candidates.append(sum(drawn.candidates))
        self.queries += 1
        self.short += missing > 0
        self.missing += missing

    def leave_out_near_duplicates(self, texts: PassageTexts, share: float) -> None:
        """Of each query's negatives and spare ones keep the first as many as wanted that are no near-duplicates of one
        of its positives; a lack of them is counted.

        Args:
            texts: of every passage drawn.
            share: part of the four-word runs of the shorter of two passages that makes them near-duplicates.
        """
        names = list(self.numbers)
        kept: list[int] = []
        self.short = self.missing = 0
        bounds = np.flatnonzero(np.diff(self.query, prepend=-1, append=-1)).tolist()
        for start, end in pairwise(bounds):
            positives = [row for row in range(start, end) if self.band[row] == POSITIVE]
            wordings = [shingles(texts[names[self.passage[row]]]) for row in positives]
            kept += positives
            lacking = 0
            for band, (_, _, count) in enumerate(self.recipe.bands):
                fit: list[int] = []
                for row in range(start, end):
                    if self.band[row] == band and len(fit) < count * len(positives):
                        own = shingles(texts[names[self.passage[row]]])
                        near = any(containment(own, wording) >= share for wording in wordings)
                        self.near_duplicates += near
                        fit += [] if near else [row]
                kept += sorted(fit, key=lambda row: self.rank[row])
                lacking += count * len(positives) - len(fit)
            self.short += lacking > 0
            self.missing += lacking
        for name in ("query", "passage", "rank", "band"):
            setattr(self, name, array("i", np.asarray(getattr(self, name))[kept].tolist()))

    def _add(self, query: int, passage_id: str, rank: int, band: int) -> None:
        self.query.append(query)
        self.passage.append(self.numbers.setdefault(passage_id, len(self.numbers)))
        self.rank.append(rank)
        self.band.append(band)

    def counts(self) -> dict[str, int]:
        """What there is, and what there should have been."""
        positive, rank = self.positive, np.asarray(self.rank)
        return {
            "queries": self.queries,
            "pairs": len(positive),
            "positives": int(positive.sum()),
            "negatives": int((~positive).sum()),
            "positives_not_retrieved": int((positive & (rank == NOT_RETRIEVED)).sum()),
            "queries_short_of_candidates": self.short,
            "negatives_missing": self.missing,
            "near_duplicates_left_out": self.near_duplicates,
        }
