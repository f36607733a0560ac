"""(query, passage) texts -> token ids, as one flat buffer: what the tokenising workers run.

Each distinct query and passage is tokenised once and the halves are joined by ids where that is exact
(`joining.py`); other texts are tokenised whole and cut into segments by character offsets.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UserError
from .contract import PAIR_READERS, Contract
from .joining import JoinRule
from .truncation import TRUNCATIONS, Segments

# Marks in a template a place where tokens never merge.
CUT = "{|}"


@dataclass(frozen=True)
class EncodedPairs:
    """Token ids of n inputs, end to end.

    `token_ids` int32 [total tokens]; `offsets` int64 [n + 1]: input i is `token_ids[offsets[i]:offsets[i + 1]]`;
    `truncated` bool [n]: tokens were dropped to fit max_length.
    """

    token_ids: np.ndarray
    offsets: np.ndarray
    truncated: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each input, int64 [n]."""
        return np.diff(self.offsets)

    def take(self, rows: Sequence[int] | np.ndarray) -> "EncodedPairs":
        """The inputs `rows`, in that order."""
        rows = np.asarray(rows, dtype=np.int64)
        starts, lengths = self.offsets[rows], self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        source = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return EncodedPairs(self.token_ids[source], offsets, self.truncated[rows])


class PairEncoder:
    """Turns texts into the token ids that one contract asks for; needs no model weights."""

    def __init__(self, tokenizer: Any, contract: Contract) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise UserError(f"the tokenizer of family {contract.family!r} has no fast form (tokenizer.json)")
        self.tokenizer = tokenizer
        self.contract = contract
        self._backend = tokenizer.backend_tokenizer
        self.pad_id: int = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
        self._eos = self._eos_ids()
        self._rule = JoinRule(self._backend)
        self._segment: Callable[[Sequence[str], Sequence[str]], Iterable[Segments]] = self._choose()

    def encode(self, queries: Sequence[str], passages: Sequence[str]) -> EncodedPairs:
        """Token ids of `zip(queries, passages)`, in order.

        Raises:
            ValueError: the two differ in length.
        """
        if len(queries) != len(passages):
            raise ValueError(f"{len(queries)} queries for {len(passages)} passages")
        fit = TRUNCATIONS[self.contract.truncation]
        # A fast tokenizer keeps the last call's truncation; ours is decided below, over segments.
        self._backend.no_truncation()
        self._backend.no_padding()
        ids: list[np.ndarray] = []
        truncated = np.zeros(len(queries), dtype=bool)
        for row, segments in enumerate(self._segment(queries, passages)):
            tokens, truncated[row] = fit(segments, self._eos, self.contract.max_length)
            ids.append(np.asarray(tokens, dtype=np.int32))
        offsets = np.zeros(len(ids) + 1, dtype=np.int64)
        np.cumsum([len(tokens) for tokens in ids], out=offsets[1:])
        return EncodedPairs(np.concatenate([np.zeros(0, np.int32), *ids]), offsets, truncated)

    def _choose(self) -> Callable[[Sequence[str], Sequence[str]], Iterable[Segments]]:
        if self.contract.architecture in PAIR_READERS:
            return self._pair_of_segments
        if self._rule.possible and _spaced(self.contract) and not self.contract.prefix + self.contract.suffix:
            return self._joined
        if self.contract.truncation == "legacy-training":
            return self._halves
        return self._whole

    def _eos_ids(self) -> list[int]:
        legacy = self.contract.truncation in ("legacy-inference", "legacy-pygaggle")
        if not legacy and (not self.contract.eos or self.contract.truncation == "legacy-training"):
            return []
        if self.tokenizer.eos_token_id is None:
            raise UserError(f"the tokenizer of family {self.contract.family!r} has no EOS; set eos=False")
        return [int(self.tokenizer.eos_token_id)]

    def _ids(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """Token ids of each distinct text, without special tokens."""
        distinct = list(dict.fromkeys(texts))
        encodings = self._backend.encode_batch_fast(distinct, add_special_tokens=False)
        return {text: encoding.ids for text, encoding in zip(distinct, encodings, strict=True)}

    def _joined(self, queries: Sequence[str], passages: Sequence[str]) -> Iterable[Segments]:
        before, between, after = _around(self.contract.template)
        rows = [
            row
            for row, (query, passage) in enumerate(zip(queries, passages, strict=True))
            if not (self._rule.admits(query) and self._rule.admits(passage))
        ]
        split = self._halves if self.contract.truncation == "legacy-training" else self._whole
        exceptions = dict(
            zip(rows, split([queries[row] for row in rows], [passages[row] for row in rows]), strict=True)
        )
        ids = self._ids([before.strip(), between.strip(), after.strip(), *queries, *passages])
        for row, (query, passage) in enumerate(zip(queries, passages, strict=True)):
            yield exceptions.get(row) or Segments(
                ids[before.strip()], ids[query], ids[between.strip()], ids[passage], ids[after.strip()]
            )

    def _whole(self, queries: Sequence[str], passages: Sequence[str]) -> Iterable[Segments]:
        """The filled template tokenised as one text (or as the pieces between its `{|}`); a token belongs to the
        query or the passage when all of its characters do."""
        before, between, _ = _around(self.contract.template.replace(CUT, ""))
        pieces = self.contract.template.split(CUT)
        chat = self._ids([self.contract.prefix, self.contract.suffix])
        prefix, suffix = chat[self.contract.prefix], chat[self.contract.suffix]
        texts = [
            piece.replace("{query}", query, 1) if "{document}" not in piece else _fill(piece, query, passage)
            for query, passage in zip(queries, passages, strict=True)
            for piece in pieces
        ]
        encodings = self._backend.encode_batch(texts, add_special_tokens=False)
        for row, (query, passage) in enumerate(zip(queries, passages, strict=True)):
            own = slice(row * len(pieces), (row + 1) * len(pieces))
            ids, offsets = _chain(texts[own], encodings[own])
            start = len(before) + len(query) + len(between)
            spans = (len(before), len(before) + len(query)), (start, start + len(passage))
            segments = _split(ids, offsets, *spans)
            yield segments._replace(before=prefix + segments.before, after=segments.after + suffix)

    def _halves(self, queries: Sequence[str], passages: Sequence[str]) -> Iterable[Segments]:
        """Query with its label and passage with its label tokenised apart, as the original trainer does."""
        before, between, after = _around(self.contract.template)
        left = [f"{before}{query}" for query in queries]
        right = [f"{between.lstrip(' ')}{passage}" for passage in passages]
        ids = self._ids([*left, *right, after])
        for query, passage in zip(left, right, strict=True):
            yield Segments([], ids[query], [], ids[passage], ids[after])

    def _pair_of_segments(self, queries: Sequence[str], passages: Sequence[str]) -> Iterable[Segments]:
        """Two segments with the tokenizer's own special tokens around and between them ([CLS] q [SEP] p [SEP])."""
        before, between, after = self._special_tokens()
        ids = self._ids([*queries, *passages])
        for query, passage in zip(queries, passages, strict=True):
            yield Segments(before, ids[query], between, ids[passage], after)

    def _special_tokens(self) -> tuple[list[int], list[int], list[int]]:
        encoding = self._backend.encode("a", "a", add_special_tokens=True)
        special = encoding.special_tokens_mask
        first = special.index(0)
        second = next(i for i in range(len(special)) if encoding.sequence_ids[i] == 1)
        length = encoding.sequence_ids.count(0)
        ids = encoding.ids
        return ids[:first], ids[first + length : second], ids[second + length :]


def _around(template: str) -> tuple[str, str, str]:
    before, rest = template.split("{query}")
    between, after = rest.split("{document}")
    return before, between, after


def _spaced(contract: Contract) -> bool:
    """Whether both slots stand between spaces (or the text's ends)."""
    before, between, after = _around(contract.template)
    inner = between[:1] == " " and between[-1:] == " " and between.strip() != ""
    return inner and before[-1:] in ("", " ") and after[:1] in ("", " ")


def _fill(piece: str, query: str, passage: str) -> str:
    """The piece with its slots filled; a slot's name inside a query stays text."""
    left, right = piece.split("{document}")
    return left.replace("{query}", query, 1) + passage + right


def _chain(texts: Sequence[str], encodings: Sequence[Any]) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids and character offsets of texts tokenised apart, as of one text."""
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []
    shift = 0
    for text, encoding in zip(texts, encodings, strict=True):
        ids += encoding.ids
        offsets += [(start + shift, end + shift) for start, end in encoding.offsets]
        shift += len(text)
    return ids, offsets


def _split(
    ids: list[int], offsets: list[tuple[int, int]], query: tuple[int, int], passage: tuple[int, int]
) -> Segments:
    """The five segments of one tokenised text, from the character spans of its query and its passage."""
    q0, q1 = _inside(offsets, query)
    p0, p1 = _inside(offsets, passage)
    return Segments(ids[:q0], ids[q0:q1], ids[q1:p0], ids[p0:p1], ids[p1:])


def _inside(offsets: list[tuple[int, int]], span: tuple[int, int]) -> tuple[int, int]:
    """First and one-past-last token that lie inside a span; where none does, the place where one would."""
    inside = [i for i, (start, end) in enumerate(offsets) if span[0] <= start < end <= span[1]]
    if inside:
        return inside[0], inside[-1] + 1
    place = next((i for i, (start, _) in enumerate(offsets) if start >= span[1]), len(offsets))
    return place, place
