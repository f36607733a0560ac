"""The fields of the filters, and how they are run."""

from dataclasses import dataclass
from typing import Literal

from inranker.errors import UserError


@dataclass(frozen=True)
class FilterOptions:
    """What each filter keeps. A filter does nothing unless `filters` names it."""

    min_words: int = 3
    """length: words of a query at least; where a script does not space its words, each character is one."""
    max_words: int = 64
    """length: words of a query at most."""
    copied_share: float = 0.9
    """copied: drop a query of which so large a part (0 to 1) stands in its passage as one run of words."""
    copied_from: int = 5
    """copied: leave queries of fewer words alone; a few keywords in their order are no copy."""
    near_duplicate: float = 0.8
    """near_duplicates: drop a query that shares so large a part (Jaccard, 0 to 1) of its character 4-grams with an
    earlier one that is kept."""
    language_probability: float = 0.02
    """language: drop a query whose probability of being in the collection's language is below this."""
    log_prob_top_k: int = 10_000
    """log_prob: keep so many queries, those whose tokens had the highest mean log-probability (InPars v1)."""
    reranker: str | None = None
    """reranker: the reranker that scores each query with its passage, a directory or a hub id."""
    reranker_top_k: int = 10_000
    """reranker: keep so many queries, the best-scored (InPars v2)."""
    reranker_precision: Literal["float32", "bfloat16"] = "float32"
    """reranker: arithmetic of its forward passes."""
    round_trip_k: int = 1
    """round_trip: keep a query when its passage is among the first so many that it retrieves (Promptagator uses 1)."""
    retriever: str = "bm25s"
    """round_trip: the first stage that it retrieves with, named as in mining."""
    labels: str | None = None
    """teacher_margin: directory or URL of a teacher's labels of pairs that were mined for these queries."""
    teacher_margin: float | None = 0.0
    """teacher_margin: keep a query when the teacher's margin (true − false) of its passage is at least this;
    null: any."""
    teacher_gap: float | None = None
    """teacher_margin: keep a query when that margin exceeds the highest of its negatives by at least this;
    null: any."""

    def __post_init__(self) -> None:
        least = {"min_words": 1, "max_words": 1, "copied_from": 1, "log_prob_top_k": 1, "reranker_top_k": 1}
        least |= {"round_trip_k": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise UserError(f"field filter.{name} is {getattr(self, name)}; give it {bound} or more")
        for name in ("copied_share", "near_duplicate", "language_probability"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(f"field filter.{name} is {getattr(self, name)}; give it a part, over 0 and up to 1")
        if self.max_words < self.min_words:
            raise UserError(f"field filter.max_words is {self.max_words}, min_words {self.min_words}; exchange them")


@dataclass(frozen=True)
class FilterExecution:
    """How filters are run; never changes what they keep, but for the last bits of a reranker's scores."""

    device: str = "auto"
    """Where a reranker runs: cpu, cuda, …; auto takes a GPU where there is one."""
    threads: int | None = None
    """Threads of a reranker on the CPU, and of a retriever; null leaves it to them."""
    token_budget: int | None = None
    """Tokens of a reranker's batch, padding included; null picks one for the device."""
    cache: str | None = None
    """Local directory that keeps first-stage indexes between jobs; null builds the index anew."""
    progress: bool = True
    """Show a progress bar for each filter that takes its time."""
