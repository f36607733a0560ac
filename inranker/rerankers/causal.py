"""Decoder-only rerankers (Qwen3-Reranker, mxbai-rerank-v2): the yes and no logits at the last position.

Inputs are padded on the right: under a causal mask nothing after the last token can reach it, so positions are
those of the unpadded input and no left padding is needed.

Dimensions: B pairs, L tokens, D model.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import UserError
from .contract import token_ids

if TYPE_CHECKING:
    from .encode import PairEncoder

# Logits of these families differ from head · state by more than rounding does.
HEAD_TOLERANCE = 0.02


class LastToken(nn.Module):
    """Logits (false, true) of a Hugging Face causal language model after the last token.

    Args:
        model: the Hugging Face module; its parameters are used as they are.
        false_id, true_id: vocabulary ids of the two answers.
    """

    def __init__(self, model: Any, false_id: int, true_id: int) -> None:
        super().__init__()
        self.model = model
        self.answer_ids = (false_id, true_id)

    def forward(self, input_ids_BL: torch.Tensor, mask_BL: torch.Tensor | None = None) -> torch.Tensor:
        """Raw logits [B, 2] float32, order (false, true); `mask_BL` is True at real tokens, which come first."""
        mask = None if mask_BL is None else mask_BL.long()
        states_BLD = self.model.base_model(input_ids=input_ids_BL, attention_mask=mask, use_cache=False)[0]
        if mask_BL is None:
            state_BD = states_BLD[:, -1]
        else:
            last_B = mask_BL.sum(1) - 1
            state_BD = states_BLD[torch.arange(last_B.shape[0], device=last_B.device), last_B]
        head = self.model.get_output_embeddings()
        answers = list(self.answer_ids)
        bias = None if head.bias is None else head.bias[answers]
        return F.linear(state_BD, head.weight[answers], bias).float()


def load_causal(path: Path, encoder: "PairEncoder", dtype: torch.dtype) -> nn.Module:
    """The module of a checkpoint directory.

    Raises:
        UserError: the family computes its logits in a way that two rows of the head do not give.
    """
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    module = LastToken(model, *token_ids(encoder.contract, encoder.tokenizer))
    check_head(module, path)
    return module


@torch.no_grad()
def check_head(module: LastToken, path: Path) -> None:
    """Compare with the family's own forward once, on two tokens: some cap or scale their logits."""
    training = module.training
    module.eval()
    input_ids_BL = torch.tensor([list(module.answer_ids)])
    ours_B2 = module(input_ids_BL)
    theirs_B2 = module.model(input_ids=input_ids_BL).logits[:, -1, list(module.answer_ids)].float()
    module.train(training)
    error = float((ours_B2 - theirs_B2).abs().max())
    if error > HEAD_TOLERANCE * max(1.0, float(theirs_B2.abs().max())):
        raise UserError(
            f"{path}: {type(module.model).__name__} changes its logits after the head (they differ by {error:.3g}); "
            "this family cannot be read at two rows of the head"
        )
