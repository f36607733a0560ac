"""What a training job is told."""

from dataclasses import dataclass, field
from typing import Literal

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Dev:
    """Measurements of nDCG@10 while training, on a small re-ranked BM25 run, or by the teacher's own judgment."""

    collection: str | None = None
    """Collection to measure on: beir:PATH, ir_datasets:ID, python-docs; null measures nothing."""
    split: str = "dev"
    """Its split; not the one that is reported in the end."""
    queries: int = 50
    """Queries of it, a fixed sample."""
    depth: int = 20
    """Passages re-ranked of each query."""
    every: int = 500
    """Updates between measurements; one is always made at the end."""
    keep: Literal["best", "last"] = "best"
    """Which student is saved: that of the best measurement, or the last."""
    labels: str | None = None
    """Labels of held-out queries in place of a collection, where there are no qrels: nDCG@10 with the teacher's P(true)
    as gains. Split dev of a synthetic collection has such queries."""


@dataclass(frozen=True)
class TrainIdentity:
    """What the student depends on.

    Labels, pairs and start weights enter the fingerprint by their content, so they may move but not change.
    """

    start: str
    """Checkpoint to start from: a directory or hub id, such as google-t5/t5-small or an earlier phase's student."""
    labels: str | list[str] | None = None
    """Directory or URL of the teacher's labels (the output of `label.py`), or several, one after the other; the soft
    losses need them."""
    pairs: str | list[str] | None = None
    """Directory or URL of pairs (the output of `mine.py`), or several, for hard labels: `kind` says which pairs are
    relevant."""
    text_from: str | None = None
    """Directory or URL of another pairs set with the same ids: train on its text (a translation) with `labels`."""
    loss: str = "mse"
    """mse (Eq. 2) | mse_mean | true_only | kl | ce (Eq. 3) | lce | margin_mse | ranknet | listwise_kl | adr_mse."""
    full_vocabulary: bool = False
    """For `ce`: softmax over the whole vocabulary, as monoT5 was trained, not over the two tokens."""
    steps: int | None = None
    """Updates to make; give either this or `epochs`."""
    epochs: int | None = None
    """Passes over the data; give either this or `steps`."""
    batch_size: int = 32
    """Pairs of an update, over all workers (losses over a query: as many whole queries as fit)."""
    negatives_per_positive: int | None = None
    """Negatives drawn anew for each positive in each epoch; null: 1 for `ce` (Eq. 3), all for the soft losses."""
    learning_rate: float = 7e-5
    """AdamW's peak learning rate."""
    warmup_steps: int = 0
    """Updates over which the learning rate rises from 0 (the released code: 20,000; the paper names none)."""
    schedule: Literal["linear", "constant"] = "linear"
    """After the warm-up: decay linearly to 0 at the last step, or stay."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    beta1: float = 0.9
    """AdamW's decay of the first moment."""
    beta2: float = 0.999
    """AdamW's decay of the second moment."""
    epsilon: float = 1e-8
    """AdamW's epsilon."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 does not clip."""
    dropout: float | None = None
    """Dropout rate; null: the model's own."""
    encoder_layers: str | None = None
    """Layers of the start's encoder (a T5's or a BERT's) to keep: `first 3`, `last 3`, `every 2` or `only 0, 2, 5`;
    null: all."""
    decoder_layers: str | None = None
    """Layers of its decoder to keep; null: all."""
    family: str | None = None
    """Family whose template and tokens a start without reranker.json takes: monot5 for a plain English T5."""
    template: str | None = None
    """Text around {query} and {document}; null: the start's."""
    false_token: str | None = None
    """Vocabulary entry that says not relevant; null: the start's."""
    true_token: str | None = None
    """Vocabulary entry that says relevant; null: the start's."""
    max_length: int | None = None
    """Tokens of a pair; null: the model's own (512 for monoT5)."""
    truncation: str | None = None
    """How a long pair is cut; null: the model's own rule (query and suffix kept, passage cut)."""
    length_window: int = 50
    """Batches whose pairs are sorted by length together, so that a batch needs little padding; 1: no sorting."""
    precision: Precision = "float32"
    """Arithmetic of the student; bfloat16 keeps float32 master weights."""
    dev: Dev = field(default_factory=Dev)
    """Measurements while training; they choose the student that is saved."""
    trains_on_test: bool = False
    """Say so where the pairs are of a test split, for an upper bound: without it such pairs are refused, with it the
    student's manifest and every table of an evaluation say so."""
    seed: int = 42
    """Seed of order, dropout, drawn negatives and from-scratch weights."""


@dataclass(frozen=True)
class Hardware:
    """What `--plan` reckons with; training itself looks at none of it."""

    gpu_memory_gb: float = 80.0
    """Memory of a GPU, in 10⁹ bytes."""
    host_memory_gb: float | None = None
    """Memory of the machine for each of its GPUs, in 10⁹ bytes, for `offload: cpu`; null: as much as it takes."""
    gpu_tflops: float = 312.0
    """Its peak in the job's precision, in 10¹² operations a second (A100 in bfloat16: 312)."""
    utilisation: float = 0.35
    """Share of the peak that training reaches."""
    update_seconds: float = 0.03
    """The least that an update takes, however small the student: a GPU waits for its kernels to be launched."""
    price_per_hour: float | None = None
    """Price of a GPU for an hour, in any currency."""


@dataclass(frozen=True)
class TrainExecution:
    """How the job is run; may differ from one start to the next (zero_stage and workers too)."""

    workers: int = 1
    """Training processes, one a GPU; Ray places them over the nodes of its cluster."""
    use_gpu: bool | None = None
    """Train on GPUs; null: where the cluster has as many as there are workers; true with `node_resource`: wait until an
    autoscaler has started them."""
    threads: int | None = None
    """CPU threads of a worker; null: the machine's cores divided by the workers."""
    node_resource: str | None = None
    """Custom Ray resource of the nodes to run on, such as the `train` of `ray start --resources '{"train": 1}'`;
    null: any node."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """What DeepSpeed's ZeRO shares out over the workers: 1 optimiser state, 2 gradients too, 3 weights too."""
    offload: Literal["none", "cpu", "nvme"] = "none"
    """Where optimiser state (and, at stage 3, weights) lives besides the GPU."""
    nvme_path: str | None = None
    """Local directory for `offload: nvme`."""
    gradient_accumulation: int = 1
    """Pieces a worker's share of a batch is cut into; the update is the same, the memory smaller."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them."""
    checkpoint_every: int = 1000
    """Updates between checkpoints; one is always made at the end."""
    keep_checkpoints: int = 2
    """Checkpoints kept."""
    keep_checkpoints_by: Literal["newest", "score"] = "newest"
    """Which ones: the newest, or those of the best dev nDCG@10 (measured at their very step) beside the newest."""
    log_every: int = 10
    """Updates between lines of metrics.jsonl."""
    max_failures: int = 3
    """Worker deaths after which the job goes on from its last checkpoint; one more ends it."""
    cache: str | None = None
    """Local directory of each node for the tokenised pairs; null: one under the system's temporary directory."""
    trackers: list[str] = field(default_factory=lambda: ["tensorboard"])
    """Where curves go besides metrics.jsonl: tensorboard, wandb, mlflow."""
    progress: bool = True
    """Show a progress bar with loss, pairs/s and ETA."""
    write_report: bool = True
    """Write report.html when the job is done."""
    hardware: Hardware = field(default_factory=Hardware)
    """What `--plan` reckons with."""


@dataclass(frozen=True)
class TrainConfig:
    """Train a student on a teacher's logits or on hard labels."""

    identity: TrainIdentity
    """What the result depends on."""
    output: str
    """Directory or URL of the result (`student`, metrics.jsonl); the same one again resumes the job."""
    execution: TrainExecution = field(default_factory=TrainExecution)
    """How the job is run."""
