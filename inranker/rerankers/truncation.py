"""Which tokens of a pair go in when it is longer than the model reads.

Each rule takes the five segments of an input and returns (token ids, whether any token was dropped).
"""

from collections.abc import Callable
from typing import NamedTuple

# A query that fills the input would leave nothing to judge, so this share of it stays the passage's.
PASSAGE_SHARE = 8
# The original trainer keeps ten tokens free for its suffix.
LEGACY_RESERVE = 10


class Segments(NamedTuple):
    """Token ids of one input in order: text before the query, query, text between, passage, text after."""

    before: list[int]
    query: list[int]
    between: list[int]
    passage: list[int]
    after: list[int]


def cut_passage(segments: Segments, eos: list[int], max_length: int) -> tuple[list[int], bool]:
    """Keep suffix and query and cut the passage's end; a query that leaves the passage less than an eighth
    of the room keeps its head only."""
    before, query, between, passage, after = segments
    room = max(max_length - len(before) - len(between) - len(after) - len(eos), 0)
    excess = len(query) + len(passage) > room
    if excess:
        query = query[: room - min(len(passage), room // PASSAGE_SHARE)]
        passage = passage[: room - len(query)]
    return before + query + between + passage + after + eos, excess


def cut_each(segments: Segments, eos: list[int], max_length: int) -> tuple[list[int], bool]:
    """Cut query and passage apart, each so that it fits with the special tokens that it is read with: what is left of a
    passage then does not depend on the query, and one reading of it does for all queries.

    For [CLS] q [SEP] p [SEP], of which [CLS] q [SEP] and [CLS] p [SEP] are read.
    """
    before, query, between, passage, after = segments
    query_room = max(max_length - len(before) - len(between), 0)
    passage_room = max(max_length - len(before) - len(after), 0)
    excess = len(query) > query_room or len(passage) > passage_room
    return before + query[:query_room] + between + passage[:passage_room] + after + eos, excess


def cut_right(segments: Segments, eos: list[int], max_length: int) -> tuple[list[int], bool]:
    """The original inference: the whole prompt is cut on the right (so a long passage loses the suffix) and
    one EOS ends it."""
    ids = [token for segment in segments for token in segment]
    room = max_length - len(eos)
    return ids[:room] + eos, len(ids) > room


def cut_like_trainer(segments: Segments, eos: list[int], max_length: int) -> tuple[list[int], bool]:
    """The original trainer: no EOS; the passage with its label is cut to max_length − 10 − |query with label|,
    then the whole on the right.

    That bound is negative for a long query, and a negative bound drops tokens from the passage's *end*
    instead of all of it; kept as it is.
    """
    query = segments.before + segments.query
    passage = segments.between + segments.passage
    bound = max_length - LEGACY_RESERVE - len(query)
    ids = (query + passage[:bound] + segments.after)[:max_length]
    return ids, len(ids) < len(query) + len(passage) + len(segments.after)


Rule = Callable[[Segments, list[int], int], tuple[list[int], bool]]

TRUNCATIONS: dict[str, Rule] = {
    "passage": cut_passage,
    "each": cut_each,
    "legacy-inference": cut_right,
    "legacy-training": cut_like_trainer,
    # pygaggle writes the EOS into the text and its tokenizer adds none after it: the same ids as inference.
    "legacy-pygaggle": cut_right,
}
