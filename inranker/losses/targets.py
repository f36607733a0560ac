"""What a loss compares the student's logits with, and how a loss is described."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from inranker.errors import UserError

# B: pairs of a batch. 2: the classes, in the order false, true. Everything is float32 unless said otherwise.


@dataclass(frozen=True)
class Targets:
    """Targets of a batch of pairs; what a loss does not need may be None.

    Args:
        teacher_logits_B2: the teacher's raw logits.
        labels_B: int64, 1 for a relevant pair and 0 for one that is not.
        groups_B: int64, equal for the pairs of one query.
    """

    teacher_logits_B2: torch.Tensor | None = None
    labels_B: torch.Tensor | None = None
    groups_B: torch.Tensor | None = None

    def teacher(self) -> torch.Tensor:
        """The teacher's logits, float32.

        Raises:
            UserError: there are none.
        """
        if self.teacher_logits_B2 is None:
            raise UserError("this loss needs the teacher's logits: name a `labels` directory, or use the loss `ce`")
        return self.teacher_logits_B2.float()

    def labels(self) -> torch.Tensor:
        """The hard labels.

        Raises:
            UserError: there are none.
        """
        if self.labels_B is None:
            raise UserError("this loss needs hard labels: name a `pairs` directory whose `kind` column says positive")
        return self.labels_B

    def groups(self) -> torch.Tensor:
        """The query number of each pair.

        Raises:
            UserError: there is none.
        """
        if self.groups_B is None:
            raise UserError("this loss compares the pairs of a query: the batch must say which query a pair is of")
        return self.groups_B


@dataclass(frozen=True)
class Loss:
    """A loss as the trainer sees it: a function of (student_logits_B2, targets), and what it needs and implies.

    `unit` is what the loss is a mean over, so that batches cut into unequal pieces add up to the whole batch's loss.
    `score` is the convention by which a student trained with it ranks; its `reranker.json` says so.
    """

    function: Callable[[torch.Tensor, Targets], torch.Tensor]
    needs: Literal["teacher", "labels"]
    source: str
    unit: Literal["pair", "query"] = "pair"
    score: Literal["margin", "true"] = "margin"

    def __call__(self, student_logits_B2: torch.Tensor, targets: Targets) -> torch.Tensor:
        """The loss of a batch: a float32 scalar."""
        return self.function(student_logits_B2.float(), targets)


def margin(logits_B2: torch.Tensor) -> torch.Tensor:
    """true − false, shape [B]: what ranks. A one-logit model z stands for (−z/2, z/2), whose margin is z."""
    return logits_B2[:, 1] - logits_B2[:, 0]
