"""The saved student beside its teacher, on a fixed sample of the training pairs: what the report's scatter shows.

Scored where the student is, in the training processes, whenever it is saved: 256 forward passes there cost less than
ten updates, while a driver without an accelerator could not load a student of three billion parameters at all.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from inranker.manifest import to_json
from inranker.storage import Store
from inranker.training.data import TrainingData

AGREEMENT = "agreement.json"
SAMPLED = 256
AT_ONCE = 32
FOLLOWS = 0.5  # below this correlation a student explains less than a quarter of its teacher's variance


def score_sample(
    forward: Callable[..., torch.Tensor], data: TrainingData, seed: int, device: torch.device
) -> dict[str, Any]:
    """Logits of a sample of the training pairs; all workers call it, and all get the same.

    Args:
        forward: (input_ids_BL, mask_BL) -> logits_B2, in evaluation mode and without gradients.

    Returns:
        `student` and `teacher` (null for hard labels): logits [n, 2], order false, true; `positive` [n].
    """
    chosen = np.random.default_rng(seed).permutation(len(data))[:SAMPLED]
    rows = chosen[np.argsort(data.lengths[chosen], kind="stable")]  # neighbours of a length need little padding
    student, teacher, positive = [], [], []
    for start in range(0, len(rows), AT_ONCE):
        batch = data.batch(rows[start : start + AT_ONCE])
        moved = batch.to(device)
        student += forward(moved.input_ids_BL, moved.mask_BL).float().cpu().tolist()
        teacher += [] if batch.targets.teacher_logits_B2 is None else batch.targets.teacher_logits_B2.tolist()
        positive += [bool(label) for label in batch.targets.labels().tolist()]
    return {"student": student, "teacher": teacher or None, "positive": positive}


def write_agreement(output: str, step: int, sample: dict[str, Any]) -> None:
    """Keep the sample of the student that was saved after update `step`."""
    Store(output).write(AGREEMENT, to_json({"step": step, **sample}))


def read_agreement(store: Store) -> dict[str, Any] | None:
    """The sample; None where the job kept none."""
    found: dict[str, Any] | None = json.loads(store.read(AGREEMENT)) if store.exists(AGREEMENT) else None
    return found


def correlation(sample: dict[str, Any]) -> float | None:
    """Pearson's r of the student's and the teacher's margins; 0 where the student has one margin for every pair.

    Returns:
        None where there is nothing to follow: hard labels, fewer than two pairs, or one margin of the teacher for all.
    """
    if sample["teacher"] is None:
        return None
    student_N, teacher_N = (np.diff(np.array(sample[name]), axis=1)[:, 0] for name in ("student", "teacher"))
    if np.ptp(teacher_N) == 0:
        return None
    return float(np.corrcoef(student_N, teacher_N)[0, 1]) if np.ptp(student_N) > 0 else 0.0


def hardly_learnt(r: float | None) -> str | None:
    """What to tell about a student that has hardly learnt its teacher's logits; None about any other.

    Args:
        r: of `correlation`; None where there was nothing to follow.
    """
    if r is None or r >= FOLLOWS:
        return None
    return (
        "the student hardly follows its teacher even on pairs that it was trained on"
        f" (correlation {r:.2f}): give it more steps or another learning_rate,"
        " or keep other encoder_layers: without the last, a start may score all pairs alike"
    )
