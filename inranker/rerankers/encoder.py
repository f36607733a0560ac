"""Cross-encoders (`AutoModelForSequenceClassification`: MiniLM, BGE, ModernBERT, …) as two-logit rerankers.

A model with one output z stands for (−z/2, z/2), so that its margin is z; one with two outputs gives them in
the order of its labels, not relevant first.

Dimensions: B pairs, L tokens.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import UserError

if TYPE_CHECKING:
    from .encode import PairEncoder


class CrossEncoder(nn.Module):
    """Logits (false, true) of a Hugging Face sequence classifier with one or two outputs.

    Args:
        model: the Hugging Face module; its parameters are used as they are.
        separator_id: id of the token between query and passage where the model marks the two by token types,
            None where it has no token types.
    """

    def __init__(self, model: Any, separator_id: int | None) -> None:
        super().__init__()
        self.model = model
        self.separator_id = separator_id

    def forward(self, input_ids_BL: torch.Tensor, mask_BL: torch.Tensor | None = None) -> torch.Tensor:
        """Raw logits [B, 2] float32, order (false, true); `mask_BL` is True at real tokens."""
        inputs: dict[str, torch.Tensor] = {}
        if mask_BL is not None:
            inputs["attention_mask"] = mask_BL.long()
        if self.separator_id is not None:
            inputs["token_type_ids"] = token_types(input_ids_BL, mask_BL, self.separator_id)
        logits_BN = self.model(input_ids=input_ids_BL, **inputs).logits.float()
        if logits_BN.shape[1] == 1:
            return torch.cat([-logits_BN / 2, logits_BN / 2], dim=1)
        return logits_BN


def token_types(input_ids_BL: torch.Tensor, mask_BL: torch.Tensor | None, separator_id: int) -> torch.Tensor:
    """1 after the first separator, 0 up to it and at padding: what a BERT tokenizer gives for a pair."""
    separator_BL = (input_ids_BL == separator_id).long()
    types_BL = (separator_BL.cumsum(1) - separator_BL > 0).long()
    return types_BL if mask_BL is None else types_BL * mask_BL.long()


def load_cross_encoder(path: Path, encoder: "PairEncoder", dtype: torch.dtype) -> nn.Module:
    """The module of a checkpoint directory.

    Raises:
        UserError: the classifier has more than two outputs.
    """
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(path, dtype=dtype)
    if model.config.num_labels > 2:
        raise UserError(f"{path}: a classifier with {model.config.num_labels} outputs; a reranker has 1 or 2")
    tokenizer = encoder.tokenizer
    typed = "token_type_ids" in tokenizer.model_input_names and getattr(model.config, "type_vocab_size", 1) > 1
    return CrossEncoder(model, tokenizer.sep_token_id if typed else None)
