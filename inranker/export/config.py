"""What an export is told."""

from dataclasses import dataclass, field
from typing import Literal

Format = Literal["onnx", "ct2"]
Precision = Literal["float32", "int8"]


@dataclass(frozen=True)
class Limits:
    """How far an export may be from its original. Null: the default of its precision (`parity.DEFAULTS`)."""

    max_logit_error: float | None = None
    """Largest |Δlogit| on the sample."""
    min_kendall_tau: float | None = None
    """Mean over queries of Kendall's τ between the two orders."""
    max_ndcg_loss: float | None = None
    """nDCG@10 that is lost: against the sample's qrels, and against the original's own scores as gains."""


@dataclass(frozen=True)
class Sample:
    """Real pairs on which the export is held to its original."""

    collection: str = "python-docs"
    """Where queries, passages and qrels come from: python-docs (needs no files), beir:PATH, ir_datasets:ID, …"""
    split: str = "test"
    """Which queries of the collection; one with qrels gives the loss of nDCG@10."""
    queries: int = 16
    """Queries, those with the smallest hash of their id."""
    depth: int = 32
    """Passages of each by BM25."""


@dataclass(frozen=True)
class ExportIdentity:
    """What the exported files depend on."""

    model: str
    """The reranker: a checkpoint directory or a hub id."""
    format: Format = "onnx"
    """For which engine: onnx (ONNX Runtime) or ct2 (CTranslate2; T5 alone)."""
    precision: Precision = "int8"
    """int8: 8-bit weights, activations quantised as they come; float32: as the original."""
    reduce_range: bool = False
    """ONNX int8 with 7-bit weights: for x86 processors without VNNI, whose 8-bit products overflow."""
    sample: Sample = field(default_factory=Sample)
    """The pairs of the parity check."""
    limits: Limits = field(default_factory=Limits)
    """What the parity check lets pass."""


@dataclass(frozen=True)
class ExportExecution:
    """How the job is run."""

    threads: int | None = None
    """Cores of the parity check; null: all."""
    external_data_bytes: int = 1_800_000_000
    """An ONNX model larger than this keeps its weights in a file beside it: a protobuf file ends at 2 GB."""


@dataclass(frozen=True)
class ExportConfig:
    """Export a reranker to another engine."""

    identity: ExportIdentity
    output: str
    """Directory of the export; it must not exist, or hold the same export."""
    execution: ExportExecution = field(default_factory=ExportExecution)
