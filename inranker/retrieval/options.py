"""The fields of BM25, which mining and evaluation share."""

from dataclasses import dataclass
from typing import Literal

from inranker.errors import UserError


@dataclass(frozen=True)
class Bm25Options:
    """How passages are weighted and cut into terms."""

    k1: float = 0.9
    """Saturation of a term's frequency; 0.9 is Anserini's value, which published BM25 figures were made with."""
    b: float = 0.4
    """Weight of a passage's length, from 0 to 1."""
    analyser: Literal["auto", "inranker", "lucene"] = "auto"
    """Who makes terms of text: InRanker's own analyser of the language or Lucene's. auto: Lucene's for English where
    Lucene retrieves, InRanker's otherwise, so that bm25s and Lucene index the same terms."""

    def __post_init__(self) -> None:
        if not 0 <= self.b <= 1 or not 0 <= self.k1 < float("inf"):
            raise UserError(f"field bm25: k1 {self.k1} and b {self.b}; k1 must not be negative, b lie from 0 to 1")
