"""Windows of long passages: everything is read, nothing is cut again, the best one counts."""

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from inranker import Ranker
from inranker.ranking.windows import passage_room, spans, split_long, windows
from inranker.rerankers import load_encoder
from inranker.types import Passage
from tests.builders import sentence

QUERY = "open file stream"


@pytest.fixture(scope="module")
def ranker(teacher: Path) -> Ranker:
    return Ranker(teacher, precision="float32", threads=1, max_length=48)


def random_text(generator: random.Random) -> str:
    """Words, very long words, other scripts, runs of spaces."""
    parts = [
        sentence(generator, generator.randint(1, 60)),
        "x" * generator.randint(1, 300),
        "検索の結果を並べる" * generator.randint(1, 20),
        " \n\t " * generator.randint(0, 4),
        "é̂ naïve ▁▁ Ünï",
    ]
    return " ".join(generator.choices(parts, k=generator.randint(1, 6)))


@pytest.mark.parametrize("seed", range(20))
def test_spans_cover_the_text_within_their_room(seed: int) -> None:
    generator = random.Random(seed)
    text = random_text(generator)
    places = sorted(generator.sample(range(len(text)), k=min(len(text), generator.randint(1, 200))))
    offsets = list(zip(places, [*places[1:], len(text)], strict=True))
    room = generator.randint(1, 40)
    cut = list(spans(text, offsets, room))
    assert cut[0][0] == 0 and cut[-1][1] == len(text)
    for (start, end), (following, _) in pairwise(cut):
        assert start < following <= end
    assert all(sum(start <= a < end for a, _ in offsets) <= room for start, end in cut)
    assert len(cut) <= 3 * len(offsets) / room + 2


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("query", [QUERY, "a very long query " * 20], ids=["short", "long"])
def test_every_character_is_read_and_no_window_is_cut(ranker: Ranker, seed: int, query: str) -> None:
    encoder = ranker.reranker.encoder
    generator = random.Random(seed)
    marks = [chr(ord("А") + number) for number in range(40)]
    text = " ".join(f"{random_text(generator)} {mark}" for mark in marks)
    pieces = list(windows(encoder, Passage("p", text), passage_room(encoder, query)))
    assert len(pieces) > 10 and all(piece in text for piece in pieces)
    assert all(any(mark in piece for piece in pieces) for mark in marks)
    encoded = encoder.encode([query] * len(pieces), pieces)
    if query == QUERY:
        assert not encoded.truncated.any()
    ends = [encoder.tokenizer.backend_tokenizer.encode(piece, add_special_tokens=False).ids[-3:] for piece in pieces]
    read = [encoded.take([row]).token_ids.tolist() for row in range(len(pieces))]
    # A long query is cut in favour of the window, whose own end is still read.
    assert all(contains(tokens, end) for tokens, end in zip(read, ends, strict=True))


def contains(tokens: list[int], part: list[int]) -> bool:
    return any(tokens[start : start + len(part)] == part for start in range(len(tokens)))


def test_the_best_window_is_the_passages_score(ranker: Ranker) -> None:
    generator = random.Random(1)
    long, short = sentence(generator, 300), sentence(generator, 6)
    hits = {hit.index: hit.score for hit in ranker.rank(QUERY, [long, short], long_passages="windows")}
    encoder = ranker.reranker.encoder
    pieces = list(windows(encoder, Passage("", long), passage_room(encoder, QUERY)))
    assert len(pieces) > 5
    assert hits[0] == pytest.approx(float(ranker.score([(QUERY, piece) for piece in pieces]).max()), abs=1e-5)
    assert hits[1] == pytest.approx(float(ranker.score([(QUERY, short)])[0]), abs=1e-5)
    assert hits[0] != pytest.approx(ranker.rank(QUERY, [long])[0].score, abs=1e-5)


def test_what_stands_at_the_end_counts_in_windows_alone(ranker: Ranker) -> None:
    generator = random.Random(2)
    tails = [hit.passage for hit in ranker.rank(QUERY, [sentence(generator, 20) for _ in range(300)])]
    head = f"{tails[-1]} " * 8
    passages = [f"{head} {tails[-2]}", f"{head} {tails[0]}"]
    cut = ranker.rank(QUERY, passages)
    whole = ranker.rank(QUERY, passages, long_passages="windows")
    assert cut[0].score == cut[1].score
    assert whole[0].index == 1 and whole[0].score > whole[1].score


def test_the_title_stands_before_every_window(teacher: Path) -> None:
    encoder = load_encoder(teacher, max_length=48)
    text = sentence(random.Random(3), 200)
    split = split_long(encoder, [QUERY], [Passage("p", text, "sort merge")], np.array([True]))
    assert len(split.passages) > 3 and all(piece.startswith("sort merge ") for piece in split.passages)
    swollen = split_long(encoder, [QUERY], [Passage("p", text, "sort merge " * 40)], np.array([True]))
    assert swollen.passages[0].startswith("sort merge") and swollen.passages[-1].endswith(text[-20:])
    assert not swollen.passages[-1].startswith("sort merge")


def test_short_pairs_stay_whole(teacher: Path) -> None:
    encoder = load_encoder(teacher)
    split = split_long(encoder, [QUERY] * 2, [Passage("a", "x"), Passage("b", "y", "z")], np.array([False, False]))
    assert split.passages == ["x", "z y"] and split.starts.tolist() == [0, 1]
