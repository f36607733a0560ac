"""What each training process does: batches in, updates out. Knows no Ray; the caller gives it checkpoints and a flag.

Dimensions: B pairs, L tokens, 2 classes (false, true).
"""

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils.logging import disable_progress_bar

from inranker.fingerprint import plain
from inranker.losses import Targets, margin, mse_terms
from inranker.manifest import to_json
from inranker.rerankers.running import keep_freed_memory
from inranker.storage import Store
from inranker.training.agreement import score_sample, write_agreement
from inranker.training.checkpoint import load_state, save_state, whole_weights
from inranker.training.deepspeed import learning_rate, make_engine
from inranker.training.dev import DEV_SCORE, DevRun
from inranker.training.job import (
    Hooks,
    Job,
    Place,
    loss_function,
    order_rules,
    prepare_data,
    prepare_dev,
    seed_part,
    total_steps,
)
from inranker.training.meter import DELTA, HIGHEST, LOSS, MINUS_LOWEST, STOP, Books, Meter, S, exchange
from inranker.training.once import default_cache
from inranker.training.order import Order, pieces
from inranker.training.student import load_student, save_student

ALIGNMENT = "alignment.json"  # which ids `text_from` has besides those that are labelled
VERIFIED_PAIRS = 4
VERIFIED_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.25}  # logits of the engine against those of the saved student


@dataclass(frozen=True)
class Measured:
    """A measurement, the best so far or the last: after which update, and its nDCG@10 (None: none was made)."""

    step: int = 0
    score: float | None = None


def run(job: Job, place: Place, hooks: Hooks) -> dict[str, Any]:
    """Train to the last step, or to the one at which the job is told to stop.

    Returns:
        `step` (updates made), `steps` (of the job), `stopped`, `loss` and `pairs_per_second` of the last window.

    Raises:
        UserError: the data or the student cannot be used, or training collapsed.
    """
    if not job.on_gpu:
        torch.set_num_threads(job.threads)
        keep_freed_memory()
    disable_progress_bar()
    device = torch.device("cuda", torch.cuda.current_device()) if job.on_gpu else torch.device("cpu")
    trainer = Trainer(job, place, hooks, device)
    return trainer.train()


class Trainer:
    """One process's view of a job: data, order, engine and where it stands."""

    def __init__(self, job: Job, place: Place, hooks: Hooks, device: torch.device) -> None:
        self.job, self.place, self.hooks, self.device = job, place, hooks, device
        identity, execution = job.identity, job.execution
        cache = Path(execution.cache) if execution.cache else default_cache()
        student = load_student(identity, execution.activation_checkpointing, device)
        self.data = prepare_data(job.source, student.encoder, cache, place)
        if place.rank == 0 and (alignment := self.data.about.get("alignment")):
            Store(job.output).write(ALIGNMENT, to_json(alignment))
        self.dev = prepare_dev(job, student.encoder, cache, place)
        self.order = Order(order_rules(identity), self.data.lengths, self.data.positive, self.data.groups)
        self.steps = total_steps(identity, self.order)
        self.loss = loss_function(identity)
        self.parts = place.world * execution.gradient_accumulation
        self.engine = make_engine(student.module, identity, execution, device)
        self.step, self.best, self.measured = 0, Measured(), Measured()
        with hooks.latest() as checkpoint:
            if checkpoint is not None:
                kept = load_state(self.engine, checkpoint)
                self.step, self.best = kept["step"], Measured(**kept["best"])

    def train(self) -> dict[str, Any]:
        """See `run`."""
        execution, steps = self.job.execution, self.steps
        books = self.open_books() if self.place.rank == 0 else None
        meter = Meter(execution.log_every)
        line: dict[str, Any] = {}
        waiting: list[tuple[int, torch.Tensor, int]] = []
        started, first, pairs_seen = time.perf_counter(), self.step, 0
        stop = stopped = False
        while self.step < steps and not stopped:
            rows = self.order.batch(self.step)
            vector = self.update(rows, stop)
            self.step += 1
            pairs_seen += len(rows)
            waiting.append((self.step, vector, len(rows)))
            logging = self.step % execution.log_every == 0 or self.step == steps
            # A vector is read one update late: a GPU then never waits for this process.
            while len(waiting) > (0 if logging or self.device.type == "cpu" else 1):
                stopped = meter.add(*waiting.pop(0)) or stopped
            if logging or stopped:
                line = {"step": self.step, "epoch": self.step / self.order.steps_per_epoch, **meter.close(self.step)}
                line["learning_rate"] = self.rate
                if books is not None:
                    books.write(line)
            if books is not None:
                done = {"step": self.step, "steps": steps, "pairs": pairs_seen}
                stop = self.hooks.tell({**line, **done, "pairs_before": first * self.job.identity.batch_size})
            if self.dev is not None and (self.step % self.dev.dev.every == 0 or self.step == steps):
                measured = self.measure(self.dev)
                if books is not None:
                    books.write({"step": self.step, DEV_SCORE: measured})
            if self.step % execution.checkpoint_every == 0 or self.step == steps or stopped:
                if books is not None:
                    books.flush()
                self.checkpoint(line)
        if books is not None:
            books.close()
        finished = self.step >= steps
        if finished and not self.keeps_best():
            self.save()
        seconds = time.perf_counter() - started
        return {
            "step": self.step,
            "steps": steps,
            "stopped": not finished,
            "loss": line.get("loss"),
            "seconds": round(seconds, 3),
            "pairs_per_second": round(pairs_seen / seconds, 2) if pairs_seen else None,
            "pairs": len(self.data),
            "dev": None if self.best.score is None else self.best.score,
            "saved_step": self.best.step if self.keeps_best() else self.step,
            "parameters": sum(getattr(p, "ds_numel", p.numel()) for p in self.engine.module.parameters()),
        }

    def open_books(self) -> Books:
        """metrics.jsonl and the trackers of this job."""
        return Books(self.job.output, self.job.execution.trackers, plain(self.job.identity), self.step)

    def update(self, rows: np.ndarray, stop: bool) -> torch.Tensor:
        """One update on the whole batch `rows`, of which this worker computes its parts.

        Returns:
            The batch's vector of `meter`: the same on every worker.
        """
        groups = self.data.groups[rows] if self.loss.unit == "query" else None
        parts = pieces(rows, groups, self.parts)
        units = len(rows) if groups is None else len(np.unique(groups))
        accumulation = self.job.execution.gradient_accumulation
        first = self.place.rank * accumulation
        self.rate = learning_rate(self.step, self.steps, self.job.identity)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = self.rate
        vector = torch.zeros(STOP + 1, device=self.device)
        vector[HIGHEST:STOP] = -torch.inf
        vector[STOP] = float(stop)
        for number in range(first, first + accumulation):
            self.backward(parts[number], number, rows, units, vector)
            self.engine.step()
        return exchange(vector, self.place.world)

    def backward(self, part: np.ndarray, number: int, rows: np.ndarray, units: int, vector: torch.Tensor) -> None:
        """Gradient of one part, weighted so that the parts' mean is the batch's loss; adds to `vector`."""
        seed_part(self.job.identity.seed, self.step, number)
        empty = not len(part)
        batch = self.data.batch(rows[:1] if empty else part).to(self.device)
        logits_B2 = self.engine(batch.input_ids_BL, batch.mask_BL)
        loss = self.loss(logits_B2, batch.targets)
        # Every worker must take part in every backward pass; one without pairs takes part with weight 0.
        share = 0.0 if empty else self.units_of(batch.targets, len(part)) / units
        self.engine.backward(loss * (share * self.parts))
        if empty:
            return
        with torch.no_grad():
            logits_B2 = logits_B2.detach()
            vector[LOSS] += loss.detach() * share
            if batch.targets.teacher_logits_B2 is not None:
                terms = mse_terms(logits_B2, batch.targets)
                vector[DELTA] += terms["delta"] * (len(part) / len(rows))
                vector[S] += terms["s"] * (len(part) / len(rows))
            score_B = margin(logits_B2)
            vector[HIGHEST] = torch.maximum(vector[HIGHEST], score_B.max())
            vector[MINUS_LOWEST] = torch.maximum(vector[MINUS_LOWEST], -score_B.min())

    def units_of(self, targets: Targets, pairs: int) -> int:
        """How many of what the loss is a mean over a part holds."""
        return pairs if self.loss.unit == "pair" else len(targets.groups().unique())

    def checkpoint(self, line: dict[str, Any]) -> None:
        """Save the state of this step."""
        with tempfile.TemporaryDirectory() as temporary:
            about = {
                "step": self.step,
                "best": asdict(self.best),
                "workers": self.place.world,
                "zero_stage": self.job.execution.zero_stage,
            }
            save_state(self.engine, Path(temporary), about, self.place.rank, self.place.world)
            metrics: dict[str, Any] = {"step": self.step, "loss": line.get("loss")}
            if self.measured.step == self.step and self.measured.score is not None:
                metrics[DEV_SCORE] = self.measured.score
            self.hooks.keep(Path(temporary), metrics)

    def keeps_best(self) -> bool:
        """Whether the best measured student is the one to save, and not the last."""
        return self.dev is not None and self.dev.dev.keep == "best"

    def measure(self, dev: DevRun) -> float:
        """nDCG@10 of the student as it stands; the best so far is saved where that is asked for."""
        self.engine.eval()
        score = dev.measure(self.engine, self.device, self.place.rank, self.place.world)
        self.engine.train()
        self.measured = Measured(self.step, score)
        if self.best.score is None or score > self.best.score:
            self.best = Measured(self.step, score)
            if self.keeps_best():
                self.save()
        return score

    def save(self) -> None:
        """Save the student, and hold what was saved to what was trained.

        Raises:
            RuntimeError: the saved student's logits are not the engine's.
        """
        weights = whole_weights(self.engine, keep=self.place.rank == 0)
        batch = self.data.batch(np.argsort(self.data.lengths, kind="stable")[:VERIFIED_PAIRS])
        self.engine.eval()
        with torch.no_grad():
            moved = batch.to(self.device)
            trained_B2 = self.engine(moved.input_ids_BL, moved.mask_BL).float().cpu()
            sample = score_sample(self.engine, self.data, self.job.identity.seed, self.device)
        self.engine.train()
        if self.place.rank != 0:
            return
        saved = save_student(self.job.identity, weights, self.job.output)
        saved.module.eval()
        with torch.no_grad():
            saved_B2 = saved.module(batch.input_ids_BL, batch.mask_BL).float()
        if self.job.identity.full_vocabulary:
            trained_B2, saved_B2 = margin(trained_B2), margin(saved_B2)
        error = float((trained_B2 - saved_B2).abs().max())
        if not error <= VERIFIED_TOLERANCE[self.job.identity.precision]:
            raise RuntimeError(f"the saved student's logits differ from the trained one's by {error:.3g}")
        write_agreement(self.job.output, self.step, sample)
