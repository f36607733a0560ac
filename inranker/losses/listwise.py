"""Losses over all passages of a query. They work on margins (true − false) and are means over queries."""

import torch

from inranker.losses.targets import Targets, margin


def _log_softmax_by_group(scores_B: torch.Tensor, groups_B: torch.Tensor) -> torch.Tensor:
    """Log of each pair's share of its query's softmax, [B]."""
    same_BB = groups_B[:, None] == groups_B[None, :]
    return scores_B - scores_B[None, :].masked_fill(~same_BB, -torch.inf).logsumexp(dim=1)


def _query_weights(groups_B: torch.Tensor) -> torch.Tensor:
    """Weights [B] that turn a sum over pairs into a mean over queries of each query's sum."""
    size_B = (groups_B[:, None] == groups_B[None, :]).sum(dim=1)
    return torch.ones_like(size_B, dtype=torch.float32) / (1 / size_B).sum()


def lce(student_logits_B2: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Localized contrastive estimation: −log of a relevant passage's share of the softmax over itself and the query's
    irrelevant passages; mean over a query's relevant passages, then over queries.

    Eight-way where a query has one relevant passage and seven others: https://arxiv.org/abs/2101.08751. A query without
    a relevant passage counts as one of loss 0.
    """
    groups_B, relevant_B = targets.groups(), targets.labels() == 1
    score_B = margin(student_logits_B2)
    irrelevant_BB = (groups_B[:, None] == groups_B[None, :]) & ~relevant_B[None, :]
    irrelevant_BB = irrelevant_BB.masked_fill(~relevant_B[:, None], False)
    own_BB = torch.eye(len(score_B), dtype=torch.bool, device=score_B.device)
    loss_B = score_B[None, :].masked_fill(~(irrelevant_BB | own_BB), -torch.inf).logsumexp(dim=1) - score_B
    relevant_in_query_B = ((groups_B[:, None] == groups_B[None, :]) & relevant_B[None, :]).sum(dim=1)
    # Each relevant passage weighs 1 / (its query's relevant passages × queries).
    size_B = (groups_B[:, None] == groups_B[None, :]).sum(dim=1)
    queries = (1 / size_B).sum()
    return (loss_B * relevant_B / relevant_in_query_B.clamp(min=1)).sum() / queries


def listwise_kl(student_logits_B2: torch.Tensor, targets: Targets) -> torch.Tensor:
    """KL(teacher ‖ student) of the softmax over a query's passages: ListNet with the teacher as truth.

    RankT5's listwise softmax with soft targets: https://arxiv.org/abs/2210.10634.
    """
    groups_B = targets.groups()
    teacher_log_p_B = _log_softmax_by_group(margin(targets.teacher()), groups_B)
    student_log_p_B = _log_softmax_by_group(margin(student_logits_B2), groups_B)
    divergence_B = teacher_log_p_B.exp() * (teacher_log_p_B - student_log_p_B)
    return (divergence_B * _query_weights(groups_B)).sum()


def adr_mse(student_logits_B2: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Approximate discounted rank MSE: the student's soft ranks follow the teacher's, the top ones first.

    A soft rank is 1 + Σ σ(s_j − s_i); the discount 1 / log2(1 + rank) is nDCG's. https://arxiv.org/abs/2405.07920.
    """
    groups_B = targets.groups()
    student_B, teacher_B = margin(student_logits_B2), margin(targets.teacher())
    same_BB = groups_B[:, None] == groups_B[None, :]
    student_wins_BB = torch.sigmoid(student_B[None, :] - student_B[:, None]) * same_BB
    soft_rank_B = 0.5 + student_wins_BB.sum(dim=1)  # σ(0) of a pair with itself is the other half
    teacher_rank_B = 1 + ((teacher_B[None, :] > teacher_B[:, None]) & same_BB).sum(dim=1)
    error_B = (soft_rank_B - teacher_rank_B).square() / torch.log2(1.0 + teacher_rank_B)
    size_B = same_BB.sum(dim=1)
    return (error_B / size_B * _query_weights(groups_B)).sum()
