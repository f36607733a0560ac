"""What an evaluation is told."""

from dataclasses import dataclass, field
from typing import Literal

from inranker.evaluation.interpolation import Interpolation
from inranker.evaluation.measures import DEFAULT_MEASURES
from inranker.retrieval.options import Bm25Options

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class EvaluateIdentity:
    """What the figures depend on.

    Collection, run and models enter the fingerprint by their content, so none may change under a job but all may move.
    """

    collection: str
    """What to search: beir:PATH, ir_datasets:ID or python-docs."""
    split: str = "test"
    """Which queries and qrels of the collection."""
    systems: list[str] = field(default_factory=lambda: ["bm25"])
    """Rows of the table: `bm25` is the first stage itself; others are checkpoint directories or hub ids, under a name
    of your own when written NAME=PATH."""
    depth: int = 100
    """Passages a query that are re-ranked. Figures at different depths are not comparable."""
    retrieve: int = 1000
    """Passages a query that the first stage retrieves; those below `depth` follow in first-stage order, so that R@1000
    means something at any depth. Never fewer than `depth`."""
    retriever: str = "bm25s"
    """First stage: bm25s; lucene (with that extra installed) or lucene:INDEX, a directory or a prebuilt name; run:FILE,
    a TREC run; or several in turn, as in bm25s+run:FILE."""
    bm25: Bm25Options = field(default_factory=Bm25Options)
    """How a BM25 first stage weighs terms and makes them."""
    language: str | None = None
    """ISO 639-1 code of the analyser; null: the collection's own."""
    run: str | None = None
    """A TREC run file to take as the first stage (row `bm25`) in place of retrieving."""
    measures: list[str] = field(default_factory=lambda: list(DEFAULT_MEASURES))
    """Columns of the table, as ir_measures spells them: nDCG@10, RR@10, R@100, AP, Judged@10, P@5, Success@10, …"""
    max_queries: int | None = None
    """Evaluate on a fixed sample of this many queries (those with the smallest hash of their id); null: on all."""
    max_length: int | None = None
    """Tokens of a pair for every reranker; null: each one's own."""
    truncation: str | None = None
    """How pairs that are longer are cut, for every reranker, as in reranker.json; null: each one's own."""
    precision: Precision = "float32"
    """Arithmetic of the forward passes; bfloat16 on GPUs."""
    teacher: str | None = None
    """Name of the system that is the teacher; the fidelity of the others to it is then reported. Null: no fidelity."""
    student: str = "student"
    """Name of the system whose fidelity is the headline. Where there is no such system, the last one that is no
    teacher."""
    before: str = "student_before"
    """Name of the system that is the student before training, for `mse_before`; ignored where there is no such one."""
    baseline: str | None = None
    """Name of the system that every other one is compared with, query by query: difference, 95 % interval,
    significance, wins and losses, the worst queries. Null: bm25, where it is among the systems."""
    compare_by: str = "nDCG@10"
    """The measure of that comparison; one of `measures`."""
    depths: list[int] = field(default_factory=list)
    """Smaller depths at which to report the re-ranked runs too (the depth curve); costs no further scoring."""
    interpolation: Interpolation = field(default_factory=Interpolation)
    """Mix each reranker with the first stage; costs no further scoring of the queries that are measured."""
    condensed: bool = False
    """Measure on condensed lists too: without the passages that nobody judged, for sets with many holes (Quati)."""
    verdicts: list[str] = field(default_factory=list)
    """JSON lines with a language model's grades of unjudged passages; they are added to the judgments, and the tables
    say so. docs/evaluation.md has the form."""
    unjudged: int | None = None
    """Write the unjudged passages among each system's best so many to unjudged.jsonl, with texts and instructions for
    a grader; null writes none. No more than `depth`."""
    shown_queries: Literal["refuse", "leave_out", "accept"] = "refuse"
    """What to do where queries were shown as examples to the generator that a system's training queries come from:
    refuse the evaluation, leave them out, or accept them; the summary lists them."""
    seed: int = 0
    """Seed of the randomisation test and of the bootstrap."""
    resamples: int = 10_000
    """Random exchanges and bootstrap samples."""


@dataclass(frozen=True)
class EvaluateExecution:
    """How the job is run; may differ from one start to the next."""

    device: str = "auto"
    """Where rerankers run: cpu, cuda, cuda:1, …; auto takes a GPU where there is one."""
    threads: int | None = None
    """Threads of a reranker on the CPU; null leaves it to torch."""
    token_budget: int | None = None
    """Tokens of a batch, padding included; null picks one for the device. Out of memory halves it."""
    cache: str | None = None
    """Local directory that keeps first-stage indexes between jobs; null builds the index anew."""
    progress: bool = True
    """Show a progress bar with pairs/s on standard error."""
    against: str | None = None
    """Show others' figures of the same collection beside ours: `paper` has InRanker's, of systems that are named as
    there (bm25, monot5-60m, human-soft-60m, inranker-60m, monot5-220m, human-soft-220m, inranker-220m, monot5-3b)."""


@dataclass(frozen=True)
class EvaluateConfig:
    """Re-rank a first-stage run with any number of rerankers and measure them."""

    identity: EvaluateIdentity
    """What the result depends on."""
    output: str | None = None
    """Directory or URL for run files, per-query values, summary and manifest; null only returns the summary."""
    execution: EvaluateExecution = field(default_factory=EvaluateExecution)
    """How the job is run."""
