"""Filters that look at a query's own words, and at those of its passage."""

import unicodedata

import numpy as np

from inranker.synthesis.filters.base import Context, Verdict
from inranker.synthesis.raw import Asked

# Scripts whose words are not spaced (Thai, Lao, Burmese, Khmer, Kana, Han): each character stands for a word.
UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF))


class Spacing(dict[int, str]):
    """What becomes of a character before a text is split at spaces; a table for `str.translate` that fills itself."""

    def __missing__(self, code: int) -> str:
        kind = unicodedata.category(chr(code))
        if kind[0] in "PSZC":
            self[code] = " "
        elif kind[0] == "L" and any(low <= code <= high for low, high in UNSPACED):
            self[code] = f" {chr(code)}"  # marks that follow stay with their letter
        else:
            self[code] = chr(code)
        return self[code]


SPACING = Spacing()


def words(text: str) -> list[str]:
    """Words of a text, case-folded, without punctuation; compatibility forms (ﬁ, full width) as plain ones."""
    return unicodedata.normalize("NFKC", text).casefold().translate(SPACING).split()


def length(asked: Asked, context: Context) -> Verdict:
    """Neither too short nor too long, in words."""
    chosen = context.options
    counts = np.fromiter((len(words(query)) for query in asked.table["query"].to_pylist()), np.int64, len(asked))
    return Verdict((counts >= chosen.min_words) & (counts <= chosen.max_words))


def copied(asked: Asked, context: Context) -> Verdict:
    """No sentence of the passage given back as a query (the copy filter of InPars, by words)."""
    chosen = context.options
    keep = np.ones(len(asked), dtype=bool)
    for place, queries, passages in asked.with_passages():
        keep[place] = [
            not is_copied(query, passage, chosen.copied_share, chosen.copied_from)
            for query, passage in zip(queries, passages, strict=True)
        ]
    return Verdict(keep)


def is_copied(query: str, passage: str, share: float, from_words: int) -> bool:
    """Whether so large a part of a query stands in its passage as one run of words."""
    asked = words(query)
    if len(asked) < from_words:
        return False
    run = max(1, int(np.ceil(share * len(asked) - 1e-9)))
    text = f" {' '.join(words(passage))} "
    return any(f" {' '.join(asked[start : start + run])} " in text for start in range(len(asked) - run + 1))
