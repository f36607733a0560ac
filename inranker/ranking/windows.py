"""Passages longer than a reranker reads: overlapping windows, of which the best one's score counts (MaxP).

Dai and Callan, "Deeper Text Understanding for IR with Contextual Neural Language Modeling" (SIGIR 2019,
https://arxiv.org/abs/1905.09217): the title is put before every window.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from inranker.rerankers.encode import PairEncoder
from inranker.rerankers.truncation import PASSAGE_SHARE
from inranker.types import Passage, join

# Share of a window that the next one repeats, so that no sentence is cut in all of them.
OVERLAP = 4
# A cut moves back to a word's start within this share of a window.
NEAR = 8
# Tokens kept free: a text cut within a word may get tokens that the whole one has not.
SLACK = 3
# A title that takes more than this share of a window is read as part of the text.
TITLE_SHARE = 2


class Windows(NamedTuple):
    """Pairs to score in place of longer ones: `starts[i]` is the first of those that stand for pair i."""

    queries: list[str]
    passages: list[str]
    starts: np.ndarray

    def best(self, scores: np.ndarray) -> np.ndarray:
        """The best score of each pair, [n], of those of its windows."""
        return np.maximum.reduceat(scores, self.starts) if len(self.starts) else scores


def split_long(
    encoder: PairEncoder, queries: Sequence[str], passages: Sequence[Passage], truncated: np.ndarray
) -> Windows:
    """Windows of the pairs that do not fit, the others as they are.

    Args:
        encoder: the reranker's, which says what fits.
        queries, passages: n pairs.
        truncated: bool [n], which of them lose tokens, as encoding them whole says.
    """
    room_of: dict[str, int] = {}
    split = Windows([], [], np.empty(len(queries), np.int64))
    for row, (query, passage) in enumerate(zip(queries, passages, strict=True)):
        split.starts[row] = len(split.queries)
        texts = [passage.contents]
        if truncated[row]:
            if query not in room_of:
                room_of[query] = passage_room(encoder, query)
            texts = list(windows(encoder, passage, room_of[query])) or texts
        split.queries.extend([query] * len(texts))
        split.passages.extend(texts)
    return split


def passage_room(encoder: PairEncoder, query: str) -> int:
    """Tokens that are left for a passage beside this query; a long query is cut so that some are."""
    if encoder.contract.truncation == "each":
        total = max(1, encoder.contract.max_length - encoder.tokenizer.num_special_tokens_to_add())
        return total - min(SLACK, total // 8)
    frame = int(encoder.encode([""], [""]).lengths[0])
    total = max(1, encoder.contract.max_length - frame)
    return max(1, total - len(_offsets(encoder, query)), total // PASSAGE_SHARE) - min(SLACK, total // 8)


def windows(encoder: PairEncoder, passage: Passage, room: int) -> Iterator[str]:
    """Texts of at most `room` tokens that together hold all of the passage, each with its title before it."""
    title, text = passage.title, passage.text
    taken = len(_offsets(encoder, title)) if title else 0
    if taken * TITLE_SHARE > room:
        title, text, taken = "", passage.contents, 0
    for start, end in spans(text, _offsets(encoder, text), max(1, room - taken)):
        yield join(title, text[start:end].strip())


def spans(text: str, offsets: Sequence[tuple[int, int]], room: int) -> Iterator[tuple[int, int]]:
    """Character spans of at most `room` tokens that overlap by a quarter and cover the text; they begin and end
    between words where a word begins in the eighth of a window before that place.

    Args:
        text: what is cut.
        offsets: characters [start, end) of each of its tokens.
        room: 1 or more.
    """
    first = 0
    while first + room < len(offsets):
        last = _word_start(text, offsets, first + room, room // NEAR)
        yield offsets[first][0] if first else 0, offsets[last][0]
        first = max(first + 1, _word_start(text, offsets, last - room // OVERLAP, room // NEAR))
    yield offsets[first][0] if first else 0, len(text)


def _word_start(text: str, offsets: Sequence[tuple[int, int]], wanted: int, back: int) -> int:
    """The last token up to `wanted`, at most `back` before it, that begins a word; `wanted` where there is none."""
    for token in range(wanted, wanted - back - 1, -1):
        start = offsets[token][0]
        if start == 0 or text[start].isspace() or text[start - 1].isspace():
            return token
    return wanted


def _offsets(encoder: PairEncoder, text: str) -> list[tuple[int, int]]:
    backend = encoder.tokenizer.backend_tokenizer
    backend.no_truncation()
    offsets: list[tuple[int, int]] = backend.encode(text, add_special_tokens=False).offsets
    return offsets
