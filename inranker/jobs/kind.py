"""What a job over units says of itself, and what it must be told."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class JobKind:
    """The stage, and what a row of its input is called: its figures are `pairs_done`, `prompts_per_second`, …"""

    stage: str
    item: str

    @property
    def items(self) -> str:
        """More than one of them."""
        return f"{self.item}s"


class Costs(Protocol):
    """How many actors there are and what they cost; see `LabelExecution`, which has all these fields."""

    @property
    def actors(self) -> int: ...
    @property
    def max_actors(self) -> int | None: ...
    @property
    def progress(self) -> bool: ...
    @property
    def price_per_hour(self) -> float | None: ...
    @property
    def peak_tflops(self) -> float | None: ...
    @property
    def utilisation(self) -> float: ...


class Execution(Costs, Protocol):
    """How a job is run: the fields that the execution of every such job has."""

    @property
    def gpus_per_actor(self) -> float: ...
    @property
    def cpus_per_actor(self) -> float: ...
    @property
    def node_resource(self) -> str | None: ...
    @property
    def threads(self) -> int | None: ...
    @property
    def max_attempts(self) -> int: ...
    @property
    def max_quarantined(self) -> float: ...
