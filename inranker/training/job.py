"""What the workers of a job are told, and what follows from it."""

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from inranker.fingerprint import fingerprint, sha256_bytes
from inranker.losses import LOSSES, Loss, Targets
from inranker.rerankers.encode import PairEncoder
from inranker.training.config import TrainExecution, TrainIdentity
from inranker.training.custody import Source, iter_rows
from inranker.training.data import TrainingData, write
from inranker.training.dev import DevRun, write_dev
from inranker.training.once import make_once
from inranker.training.order import Order, OrderRules


@dataclass(frozen=True)
class Job:
    """What all workers of a job are told: `threads` CPU threads each, `dev_identity` of what is measured meanwhile."""

    identity: TrainIdentity
    execution: TrainExecution
    source: Source
    output: str
    on_gpu: bool
    threads: int
    dev_identity: dict[str, Any] | None = None


@dataclass(frozen=True)
class Place:
    """Which worker this is, among all and on its node."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0


class Hooks(Protocol):
    """What a worker needs from whoever runs it."""

    def latest(self) -> AbstractContextManager[Path | None]:
        """The directory of the last checkpoint, while the context is open; None where there is none."""

    def keep(self, place: Path, metrics: dict[str, Any]) -> None:
        """Make this worker's share of a checkpoint durable; all workers call it at the same step."""

    def tell(self, progress: dict[str, Any]) -> bool:
        """Report progress (rank 0); True when the job is to stop at the next step."""


def order_rules(identity: TrainIdentity) -> OrderRules:
    """The order that a job's identity asks for."""
    negatives = identity.negatives_per_positive
    if negatives is None and identity.loss == "ce":
        negatives = 1
    return OrderRules(
        identity.seed, identity.batch_size, identity.length_window, negatives, LOSSES[identity.loss].unit == "query"
    )


def total_steps(identity: TrainIdentity, order: Order) -> int:
    """Updates of the job."""
    if identity.steps is not None:
        return identity.steps
    assert identity.epochs is not None
    return identity.epochs * order.steps_per_epoch


def loss_function(identity: TrainIdentity) -> Loss:
    """The loss of the job; over the whole vocabulary the student gives log-probabilities already."""
    if not identity.full_vocabulary:
        return LOSSES[identity.loss]
    return Loss(_negative_log_likelihood, "labels", LOSSES["ce"].source)


def _negative_log_likelihood(log_p_B2: torch.Tensor, targets: Targets) -> torch.Tensor:
    return torch.nn.functional.nll_loss(log_p_B2, targets.labels())


def seed_part(seed: int, step: int, part: int) -> None:
    """Dropout of a part as a function of (seed, step, part), whichever worker computes it and whenever."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, part]).generate_state(1, np.uint64)[0]) >> 1)


def encoder_key(encoder: PairEncoder) -> dict[str, Any]:
    """What the token ids of a text depend on."""
    unread = ("family", "score", "calibration")
    contract = {key: value for key, value in asdict(encoder.contract).items() if key not in unread}
    return {"contract": contract, "tokenizer": sha256_bytes(encoder.tokenizer.backend_tokenizer.to_str().encode())}


def prepare_data(source: Source, encoder: PairEncoder, cache: Path, place: Place) -> TrainingData:
    """The tokenised data of this node, made where it is missing."""
    named = fingerprint({"content": source.content, **encoder_key(encoder)})

    def make(folder: Path) -> None:
        matched: dict[str, Any] = {}
        rows = iter_rows(source, lambda alignment: matched.update(alignment=alignment.report()))
        write(folder, rows, encoder, lambda: matched)

    return TrainingData(make_once(cache / f"pairs-{named[:24]}", make, place.local_rank == 0, place.world))


def prepare_dev(job: Job, encoder: PairEncoder, cache: Path, place: Place) -> DevRun | None:
    """The measurements' candidates of this node, made where they are missing; None where nothing is measured."""
    dev = job.identity.dev
    if job.dev_identity is None:
        return None
    named = fingerprint({"dev": job.dev_identity, **encoder_key(encoder)})

    def make(folder: Path) -> None:
        write_dev(folder, dev, encoder)

    return DevRun(make_once(cache / f"dev-{named[:24]}", make, place.local_rank == 0, place.world), dev, encoder)
