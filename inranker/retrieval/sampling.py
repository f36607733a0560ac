"""Which passages a query is paired with: its positives, and negatives drawn from its candidates."""

import random
from array import array
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from inranker.types import ScoredDoc

NOT_RETRIEVED = 0  # stands for a null rank in arrays; ranks begin at 1


def stable_hash(*parts: object) -> int:
    """64 bits in place of a random number: the same for the same parts on every machine."""
    return int.from_bytes(blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


def sample_negatives(candidates: Sequence[int], count: int, seed: int, query_id: str) -> list[int]:
    """`count` of the candidates without replacement, in their own order; all of them where they are fewer.

    The draw is a function of the seed, the query's id and the candidates alone: it does not matter which other queries
    are mined, in what order or where. Only `Random.random` is used, which Python promises never to change.
    """
    places = list(range(len(candidates)))
    generator = random.Random(f"{seed} {query_id}")
    taken = min(count, len(places))
    for place in range(taken):  # the first steps of a Fisher-Yates shuffle
        other = place + int(generator.random() * (len(places) - place))
        places[place], places[other] = places[other], places[place]
    return [candidates[place] for place in sorted(places[:taken])]


class Draw:
    """The pairs of a job before their texts are known: parallel arrays, grouped by query."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.numbers: dict[str, int] = {}  # distinct passage ids, in order of appearance
        self.query, self.passage, self.rank, self.positive = (array("i") for _ in range(4))
        self.short = self.missing = self.queries = 0

    def add_query(self, query: int, query_id: str, positives: list[str], ranking: list[ScoredDoc], wanted: int) -> None:
        """The pairs of one query: its positives, wherever they were ranked, and negatives drawn from the ranking.

        Args:
            query: the query's number in the job.
            query_id: its id, which the draw depends on.
            positives: ids of its relevant passages.
            ranking: candidates, best first; the positives among them are never drawn.
            wanted: how many negatives to draw; fewer candidates are all taken, and the lack is counted.
        """
        ranks = {document.passage_id: rank for rank, document in enumerate(ranking, start=1)}
        for passage_id in positives:
            self._add(query, passage_id, ranks.get(passage_id, NOT_RETRIEVED), True)
        relevant = set(positives)
        candidates = [place for place, document in enumerate(ranking) if document.passage_id not in relevant]
        for place in sample_negatives(candidates, wanted, self.seed, query_id):
            self._add(query, ranking[place].passage_id, place + 1, False)
        self.queries += 1
        self.short += len(candidates) < wanted
        self.missing += max(0, wanted - len(candidates))

    def _add(self, query: int, passage_id: str, rank: int, positive: bool) -> None:
        self.query.append(query)
        self.passage.append(self.numbers.setdefault(passage_id, len(self.numbers)))
        self.rank.append(rank)
        self.positive.append(positive)

    def counts(self) -> dict[str, int]:
        """What there is, and what there should have been."""
        positive, rank = np.asarray(self.positive, dtype=bool), np.asarray(self.rank)
        return {
            "queries": self.queries,
            "pairs": len(positive),
            "positives": int(positive.sum()),
            "negatives": int((~positive).sum()),
            "positives_not_retrieved": int((positive & (rank == NOT_RETRIEVED)).sum()),
            "queries_short_of_candidates": self.short,
            "negatives_missing": self.missing,
        }
