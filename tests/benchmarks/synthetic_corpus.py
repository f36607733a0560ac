"""A corpus and queries of any size, made from the sentences of real collections.

A passage is four sentences drawn at random from all passages of the English collections, so words, their frequencies
and the lengths of sentences are real, and no two passages are alike. Queries are the collections' own, then runs of 6
to 12 words of a random sentence. Both are functions of the seed.
"""

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

from inranker.corpora import open_collection
from inranker.corpora.base import Collection
from inranker.types import Passage, Query

COLLECTIONS = ("scifact", "cranfield", "cacm", "cisi", "vaswani", "covidqa", "climatefever_evidence", "msmarco_dl_5k")
SENTENCES_OF_A_PASSAGE = 4
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def real_collections() -> list[Collection]:
    """The collections that sentences and queries come from, at ../shared or INRANKER_SHARED."""
    folder = Path(os.environ.get("INRANKER_SHARED", "../shared")) / "collections"
    return [open_collection(f"beir:{folder / name}") for name in COLLECTIONS]


def sentences(collections: list[Collection]) -> list[str]:
    """Every sentence of at least four words."""
    found = (
        sentence
        for collection in collections
        for passage in collection.passages_iter()
        for sentence in SENTENCE_END.split(passage.contents)
    )
    return [sentence for sentence in found if sentence.count(" ") >= 3]


def passages(pool: list[str], count: int, seed: int = 1) -> Iterator[Passage]:
    """So many passages; fewer are the head of more."""
    generator = random.Random(seed)
    for number in range(count):
        yield Passage(f"p{number}", " ".join(generator.choice(pool) for _ in range(SENTENCES_OF_A_PASSAGE)))


def queries(collections: list[Collection], pool: list[str], count: int, seed: int = 2) -> list[Query]:
    """So many queries, shuffled."""
    generator = random.Random(seed)
    texts = [
        query.text
        for collection in collections
        for split in collection.splits()
        for query in collection.queries_iter(split)
    ]
    while len(texts) < count:
        words = generator.choice(pool).split()
        start = generator.randrange(len(words))
        if len(run := words[start : start + generator.randint(6, 12)]) >= 4:
            texts.append(" ".join(run))
    generator.shuffle(texts)
    return [Query(f"q{number}", text) for number, text in enumerate(texts[:count])]
