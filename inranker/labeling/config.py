"""What a label job is told."""

from dataclasses import dataclass, field
from typing import Literal

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class LabelIdentity:
    """What the logits depend on.

    The teacher's weights and the pairs enter the fingerprint by their content, so neither may change under a job but
    both may move.
    """

    pairs: str
    """Directory or URL of the pairs to label: the output of `mine.py`."""
    teacher: str
    """The teacher: a checkpoint directory or a hub id, such as castorini/monot5-3b-msmarco-10k."""
    precision: Precision = "float32"
    """Arithmetic of the forward pass; logits are stored as float32 either way. bfloat16 on GPUs."""
    max_length: int | None = None
    """Tokens of a pair; null takes the teacher's own (512 for monoT5)."""
    truncation: str | None = None
    """How a long pair is cut; null takes the teacher's own rule (query and suffix kept, passage cut)."""


@dataclass(frozen=True)
class LabelExecution:
    """How the job is run; may differ from one start to the next."""

    actors: int = 1
    """Scoring actors, each with its own copy of the teacher."""
    max_actors: int | None = None
    """Upper size of the actor pool where the cluster scales; null: the same as `actors`."""
    gpus_per_actor: float = 0.0
    """GPUs an actor asks for; 0 scores on the CPU."""
    cpus_per_actor: float = 1.0
    """Logical CPUs an actor asks for."""
    node_resource: str | None = None
    """Custom Ray resource of the nodes to run on, such as the `label` of `ray start --resources '{"label": 1}'`;
    null: any node."""
    threads: int | None = None
    """Threads of a CPU actor; null: the machine's cores divided by the actors."""
    token_budget: int | None = None
    """Tokens of a batch, padding included; null picks one for the device. Out of memory halves it."""
    unit_rows: int | None = None
    """Pairs of a unit of work, fixed at the first start; null: 8,192, fewer where actors would stand idle."""
    max_attempts: int = 4
    """Starts of one unit before the job ends with its name (a pair that kills its process is found this way)."""
    max_quarantined: float = 0.001
    """Share of pairs that may be quarantined before the job counts as failed."""
    reuse: list[str] = field(default_factory=list)
    """Directories or URLs of finished labels of the same scorer: pairs whose texts they hold are not scored again."""
    audit_share: float = 0.001
    """Share of pairs that are scored again, by another process and in other batches, when all are done (of a small
    job 64 pairs); 0 leaves the audit out."""
    audit_seed: int = 0
    """Seed of the draw of audited pairs."""
    audit_threshold: float | None = None
    """Largest difference of a logit in the audit before the job counts as failed; null: 0.001 in float32, 0.5 in
    bfloat16."""
    progress: bool = True
    """Show a progress bar with pairs/s and ETA."""
    write_report: bool = True
    """Write report.html when the job is done; it reads labels and pairs once more."""
    price_per_hour: float | None = None
    """Price of an actor's accelerator for an hour, in any currency: `--plan` says what the job will cost, progress what
    it has cost."""
    pairs_per_second: float | None = None
    """Pairs that an actor scores in a second, for `--plan`; null: what finished units took, or a share of the peak."""
    peak_tflops: float | None = None
    """Peak of an actor's accelerator in the job's precision, in 10¹² operations a second (H100 in bfloat16: 989)."""
    utilisation: float = 0.5
    """Share of the peak that `--plan` expects where no rate is known."""


@dataclass(frozen=True)
class LabelConfig:
    """Score pairs with a teacher and write its raw logits."""

    identity: LabelIdentity
    """What the result depends on."""
    output: str
    """Directory or URL to write labels to; the same one again resumes the job."""
    execution: LabelExecution = field(default_factory=LabelExecution)
    """How the job is run."""
