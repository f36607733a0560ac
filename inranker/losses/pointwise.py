"""Losses of one pair at a time: the paper's own four (Eq. 1-3, appendix C) and the released code's variant.

Paper: InRanker, https://arxiv.org/abs/2401.06910. Each function takes the student's raw logits [B, 2] (false, true)
and the batch's targets, and returns the mean over the pairs.
"""

import torch
from torch.nn import functional

from inranker.losses.targets import Targets


def centre(logits_B2: torch.Tensor) -> torch.Tensor:
    """Eq. 1: take the mean of a pair's two logits off both, leaving (−x, x) with x = half the margin."""
    return logits_B2 - logits_B2.mean(dim=1, keepdim=True)


def mse(student_logits_B2: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Eq. 2: squared distance to the centred teacher, summed over the two logits, mean over pairs."""
    error_B2 = student_logits_B2 - centre(targets.teacher())
    return error_B2.square().sum(dim=1).mean()


def mse_mean(student_logits_B2: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Eq. 2 averaged over the two logits, as the released code does: half of `mse`."""
    return mse(student_logits_B2, targets) / 2


def true_only(student_logits_B2: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Appendix C: squared distance of the true logit alone to the centred teacher's; such a student ranks by it."""
    error_B = student_logits_B2[:, 1] - centre(targets.teacher())[:, 1]
    return error_B.square().mean()


def kl(student_logits_B2: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Appendix C: KL(teacher ‖ student) over the two classes, temperature 1."""
    teacher_log_p_B2 = targets.teacher().log_softmax(dim=1)
    student_log_p_B2 = student_logits_B2.log_softmax(dim=1)
    return functional.kl_div(student_log_p_B2, teacher_log_p_B2, reduction="batchmean", log_target=True)


def ce(student_logits_B2: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Eq. 3: −log of the labelled class' share of the two-way softmax.

    Eq. 3 sums one relevant and one irrelevant pair; over a batch that holds as many of either, the mean over pairs
    is half of it.
    """
    return functional.cross_entropy(student_logits_B2, targets.labels())


def mse_terms(student_logits_B2: torch.Tensor, targets: Targets) -> dict[str, torch.Tensor]:
    """Eq. 2 taken apart: `delta` + `s` = `mse`.

    With centred targets (−x, x), s = (true + false) / 2 and δ = (true − false) / 2, Eq. 2 is 2(δ − x)² + 2s². Only δ
    ranks; s regularises. A student that starts as its own teacher has a δ term of 0: nothing about ranking to learn
    unless dropout is on.
    """
    s_B = student_logits_B2.float().mean(dim=1)
    delta_B = student_logits_B2.float()[:, 1] - s_B
    x_B = centre(targets.teacher())[:, 1]
    return {"delta": 2 * (delta_B - x_B).square().mean(), "s": 2 * s_B.square().mean()}
