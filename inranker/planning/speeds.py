"""What a recipe is planned for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DistillExecution:
    """What `--plan` reckons with; running the stages looks at none of it."""

    gpu_memory_gb: float = 80.0
    """Memory of a GPU, in 10⁹ bytes."""
    gpu_tflops: float = 312.0
    """Its peak in bfloat16, in 10¹² operations a second (the paper's A100: 312; H100: 989)."""
    training_utilisation: float = 0.35
    """Share of the peak that training reaches."""
    update_seconds: float = 0.03
    """The least that an update of training takes, however small the student."""
    scoring_utilisation: float = 0.5
    """Share of the peak that labelling and re-ranking reach."""
    price_per_hour: float | None = None
    """Price of a GPU for an hour, in any currency."""
