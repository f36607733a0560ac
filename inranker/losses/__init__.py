"""Losses: one function each of (student logits [B, 2], targets), and this table of them.

A new loss is a function in one of the files beside this one and a line here; the tests run every entry.
"""

from inranker.losses.listwise import adr_mse, lce, listwise_kl
from inranker.losses.pairwise import margin_mse, ranknet
from inranker.losses.pointwise import ce, kl, mse, mse_mean, mse_terms, true_only
from inranker.losses.targets import Loss, Targets, margin

INRANKER = "https://arxiv.org/abs/2401.06910"

LOSSES: dict[str, Loss] = {
    "mse": Loss(mse, "teacher", f"{INRANKER} Eq. 1-2"),
    "mse_mean": Loss(mse_mean, "teacher", f"{INRANKER} Eq. 1-2, averaged as in the released code"),
    "true_only": Loss(true_only, "teacher", f"{INRANKER} appendix C", score="true"),
    "kl": Loss(kl, "teacher", f"{INRANKER} appendix C"),
    "ce": Loss(ce, "labels", f"{INRANKER} Eq. 3"),
    "lce": Loss(lce, "labels", "https://arxiv.org/abs/2101.08751", unit="query"),
    "margin_mse": Loss(margin_mse, "teacher", "https://arxiv.org/abs/2010.02666", unit="query"),
    "ranknet": Loss(ranknet, "teacher", "https://arxiv.org/abs/2304.09542", unit="query"),
    "listwise_kl": Loss(listwise_kl, "teacher", "https://arxiv.org/abs/2210.10634", unit="query"),
    "adr_mse": Loss(adr_mse, "teacher", "https://arxiv.org/abs/2405.07920", unit="query"),
}

__all__ = ["LOSSES", "Loss", "Targets", "margin", "mse_terms"]
