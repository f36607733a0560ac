"""How the `transformers` engine picks each next token: by one number a row and step, from the row's own seed.

A row's draws do not depend on the rows beside it, so only rounding can: sums of another batch layout differ in their
last bits, and a draw or a comparison that falls between them goes the other way.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch

from inranker.synthesis.generators.base import Decoding


class SeededDraw:
    """Hugging Face's `generate` asks it for scores; it answers with one token per row, so that greedy decoding takes
    that one.

    Args:
        decoding: temperature and truncation.
        seeds: of each row.

    Attributes:
        log_probs: for each step, the log-probabilities [batch] of the tokens that were taken, under the model's own
            distribution.
    """

    def __init__(self, decoding: Decoding, seeds: Sequence[int]) -> None:
        self.decoding = decoding
        self.random = [random.Random(seed) for seed in seeds]
        self.log_probs: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, logits_BV: torch.Tensor) -> torch.Tensor:
        """Scores in which the chosen token is 0 and every other −inf."""
        log_probs_BV = torch.log_softmax(logits_BV.float(), dim=-1)
        if self.decoding.temperature == 0:
            tokens_B = torch.argmax(log_probs_BV, dim=-1)
        else:
            at_B = torch.tensor([each.random() for each in self.random], dtype=torch.float64)
            tokens_B = draw(logits_BV, at_B.to(logits_BV.device), self.decoding)
        self.log_probs.append(log_probs_BV.gather(1, tokens_B[:, None])[:, 0].cpu())
        return torch.full_like(logits_BV, -torch.inf).scatter_(1, tokens_B[:, None], 0.0)


def draw(logits_BV: torch.Tensor, at_B: torch.Tensor, decoding: Decoding) -> torch.Tensor:
    """The token of each row at which the cumulative probability passes a number in [0, 1).

    Most probable tokens come first, so that truncation cuts the end: `top_k` tokens, then the smallest head that has
    `top_p` of the probability.
    """
    kept = min(decoding.top_k or logits_BV.shape[1], logits_BV.shape[1])
    logits_BK, tokens_BK = torch.topk(logits_BV.float() / decoding.temperature, kept, dim=-1)
    total_BK = torch.softmax(logits_BK, dim=-1).double().cumsum(dim=-1)
    # A token is in the head when those before it have less than top_p; the first always is.
    heads_B1 = (total_BK < decoding.top_p).sum(dim=-1, keepdim=True).clamp(max=kept - 1)
    mass_B1 = total_BK.gather(1, heads_B1)
    places_B1 = torch.searchsorted(total_BK, at_B[:, None] * mass_B1, right=True)
    return tokens_BK.gather(1, torch.minimum(places_B1, heads_B1))[:, 0]


class StopAtStrings:
    """Ends a row whose generated text holds one of its stop strings.

    Args:
        decode: token ids of a row -> text.
        stops: of each row.
        prompt_width: columns of the prompts.
    """

    def __init__(self, decode: Callable[[Any], str], stops: Sequence[Sequence[str]], prompt_width: int) -> None:
        self.decode, self.stops, self.prompt_width = decode, stops, prompt_width
        self.done = [False] * len(stops)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **rest: Any) -> torch.Tensor:
        """Which rows are done (bool [batch])."""
        for row, stops in enumerate(self.stops):
            if not self.done[row] and stops:
                text = self.decode(input_ids[row, self.prompt_width :].tolist())
                self.done[row] = any(stop in text for stop in stops)
        return torch.tensor(self.done, device=input_ids.device)
