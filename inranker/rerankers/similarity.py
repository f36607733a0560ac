"""Sentence encoders as two-logit rerankers: how alike query and passage are, each read by itself.

A sentence encoder (all-MiniLM, E5, BGE, …) ranks well before it has seen a single judged query, which a fresh
cross-encoder on top of the same weights does not. Score and margin are 20 × the cosine of the two mean-pooled outputs;
20 is the scale under which such encoders learn to tell a passage from others
(https://arxiv.org/abs/1908.10084 and the library that came of it).

Dimensions: B pairs, U distinct texts, L tokens of a pair or text, Q of a query, P of a passage, D model.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ..errors import UserError
from .checkpoint import config_for, load_tokenizer, local_path
from .contract import FAMILIES, Truncation, save_contract
from .encoder import CrossEncoder

if TYPE_CHECKING:
    from .encode import PairEncoder

SCALE = 20.0


class SimilarityEncoder(CrossEncoder):
    """Logits (−z/2, z/2) with z = 20 cos(query, passage), of pairs that a BERT tokenizer joined: [CLS] q [SEP] p [SEP].

    Args:
        model: a Hugging Face encoder without a head; its parameters are used as they are.
        separator_id, start_id: ids of [SEP] and [CLS].
    """

    separator_id: int

    def __init__(self, model: Any, separator_id: int, start_id: int) -> None:
        super().__init__(model, separator_id)
        model.pooler = None  # belongs to another task's head
        self.start_id = start_id

    def forward(self, input_ids_BL: torch.Tensor, mask_BL: torch.Tensor | None = None) -> torch.Tensor:
        """Raw logits [B, 2] float32, order (false, true); `mask_BL` is True at real tokens."""
        if mask_BL is None:
            mask_BL = torch.ones_like(input_ids_BL, dtype=torch.bool)
        query, passage = split(input_ids_BL, mask_BL, self.separator_id, self.start_id)
        score_B = SCALE * (self.embed_once(*query) * self.embed_once(*passage)).sum(dim=1)
        return torch.stack([-score_B / 2, score_B / 2], dim=1)

    def embed_once(self, input_ids_BL: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        """`embed` of texts some of which are the same, as the queries of a batch are: each is read once."""
        distinct_UL, place_B = torch.unique(input_ids_BL.masked_fill(~mask_BL, -1), dim=0, return_inverse=True)
        return self.embed(distinct_UL.clamp(min=0), distinct_UL >= 0)[place_B]

    def embed(self, input_ids_BL: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        """Mean of a text's outputs, of length 1: [B, D] float32."""
        states_BLD = self.model(input_ids=input_ids_BL, attention_mask=mask_BL.long()).last_hidden_state.float()
        weights_BL1 = mask_BL.float()[:, :, None]
        return F.normalize((states_BLD * weights_BL1).sum(dim=1) / weights_BL1.sum(dim=1), dim=1)


def split(
    input_ids_BL: torch.Tensor, mask_BL: torch.Tensor, separator_id: int, start_id: int
) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """[CLS] q [SEP] p [SEP] as ids and mask of [CLS] q [SEP] and of [CLS] p [SEP], padded on the right."""
    separator_BL = ((input_ids_BL == separator_id) & mask_BL).long()
    in_query_BL = (separator_BL.cumsum(1) - separator_BL == 0) & mask_BL
    query_B = in_query_BL.sum(dim=1)
    longest_query = int(query_B.max())
    passage_B = mask_BL.sum(dim=1) - query_B + 1  # with a [CLS] of its own, where the query's [SEP] was
    place_P = torch.arange(int(passage_B.max()), device=input_ids_BL.device)
    from_BP = (query_B[:, None] - 1 + place_P[None, :]).clamp(max=input_ids_BL.shape[1] - 1)
    passage_BP = input_ids_BL.gather(1, from_BP)
    passage_BP[:, 0] = start_id
    query = input_ids_BL[:, :longest_query], in_query_BL[:, :longest_query]
    return query, (passage_BP, place_P[None, :] < passage_B[:, None])


def load_similarity(path: Path, encoder: "PairEncoder", dtype: torch.dtype) -> SimilarityEncoder:
    """The module of a checkpoint directory.

    Raises:
        UserError: its tokenizer does not put a separator between query and passage.
    """
    from transformers import AutoModel

    tokenizer = encoder.tokenizer
    if tokenizer.sep_token_id is None or tokenizer.cls_token_id is None:
        raise UserError(f"{path}: its tokenizer has no [SEP] and [CLS]; a sentence encoder such as BERT's is needed")
    model = AutoModel.from_pretrained(path, dtype=dtype)
    return SimilarityEncoder(model, tokenizer.sep_token_id, tokenizer.cls_token_id)


def create_similarity(
    source: str | Path, path: str | Path, max_length: int = 512, truncation: Truncation = "each"
) -> dict[str, int]:
    """Save a sentence encoder as a reranker: weights, tokenizer and a reranker.json that says how it is read.

    Args:
        source: directory, hub id or `package:NAME` of a sentence encoder.
        path: directory to write, made if absent.
        max_length: tokens of a text, or of both together: see `truncation`.
        truncation: `each` cuts query and passage to `max_length` each, `passage` leaves it for both together.

    Returns:
        `{"parameters": weights, "layers": encoder layers}`.

    Raises:
        UserError: there is no such encoder, its tokenizer does not fit, or it has fewer positions than max_length.
    """
    from .encode import PairEncoder
    from .reranker import Reranker

    directory = local_path(source)
    layers = int(config_for(directory, source, max_length).num_hidden_layers)
    contract = replace(FAMILIES["similarity"], max_length=max_length, truncation=truncation)
    encoder = PairEncoder(load_tokenizer(directory), contract)
    reranker = Reranker(load_similarity(directory, encoder, torch.float32), encoder)
    target = Path(path)
    target.mkdir(parents=True, exist_ok=True)
    reranker.save(target)
    save_contract(target, contract)
    return {"parameters": reranker.parameters_count, "layers": layers}
