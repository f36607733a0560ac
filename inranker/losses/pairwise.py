"""Losses of two passages of one query at a time. They work on margins (true − false) and are means over queries.

All pairs of a batch are compared at once, [B, B], and those of different queries masked out: a batch is a few dozen
pairs, so the square is small.
"""

import torch
from torch.nn import functional

from inranker.losses.targets import Targets, margin


def group_weights(keep_BB: torch.Tensor, groups_B: torch.Tensor) -> torch.Tensor:
    """Weights [B, B] that turn a sum over kept comparisons into a mean over queries of each query's mean.

    A query without any comparison to make counts as one of loss 0, so that the number of queries in a batch does not
    depend on the labels.
    """
    same_BB = groups_B[:, None] == groups_B[None, :]
    comparisons_B = (same_BB.float() @ keep_BB.float().sum(dim=1)).clamp(min=1)
    queries = (1 / same_BB.sum(dim=1)).sum()
    return keep_BB / comparisons_B[:, None] / queries


def margin_mse(student_logits_B2: torch.Tensor, targets: Targets) -> torch.Tensor:
    """MarginMSE: the student's difference of two passages' scores follows the teacher's.

    Over every two passages of a query, not only (positive, negative): https://arxiv.org/abs/2010.02666.
    """
    student_B, teacher_B, groups_B = margin(student_logits_B2), margin(targets.teacher()), targets.groups()
    student_BB = student_B[:, None] - student_B[None, :]
    teacher_BB = teacher_B[:, None] - teacher_B[None, :]
    other_BB = (groups_B[:, None] == groups_B[None, :]).triu(diagonal=1)
    return ((student_BB - teacher_BB).square() * group_weights(other_BB, groups_B)).sum()


def ranknet(student_logits_B2: torch.Tensor, targets: Targets) -> torch.Tensor:
    """RankNet with the teacher's order as truth: −log σ(s_i − s_j) for every i the teacher puts above j.

    As RankGPT distils its teacher: https://arxiv.org/abs/2304.09542.
    """
    student_B, teacher_B, groups_B = margin(student_logits_B2), margin(targets.teacher()), targets.groups()
    student_BB = student_B[:, None] - student_B[None, :]
    above_BB = (teacher_B[:, None] > teacher_B[None, :]) & (groups_B[:, None] == groups_B[None, :])
    return (functional.softplus(-student_BB) * group_weights(above_BB, groups_B)).sum()
