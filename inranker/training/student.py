"""The student: where its weights come from, how it is prepared for training, and how it is saved."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from inranker.errors import UserError
from inranker.fetch import upload
from inranker.losses import LOSSES
from inranker.rerankers import load_reranker, scorer_identity
from inranker.rerankers.encode import PairEncoder
from inranker.rerankers.encoder import CrossEncoder
from inranker.rerankers.reranker import Reranker
from inranker.rerankers.t5 import OneStepT5
from inranker.storage import Store
from inranker.training.config import TrainIdentity
from inranker.training.cut import cut, cut_encoder

STUDENT = "student"


def start_identity(identity: TrainIdentity) -> dict[str, Any]:
    """What the start is, by content: weights, tokenizer and contract.

    Raises:
        UserError: it cannot be read, or its tokens are not known.
    """
    found = scorer_identity(identity.start, **overrides(identity))
    return {key: value for key, value in found.items() if key != "dtype"}


def overrides(identity: TrainIdentity) -> dict[str, Any]:
    """Fields of the student's contract that the job sets."""
    names = ("family", "template", "false_token", "true_token", "max_length", "truncation")
    return {name: value for name in names if (value := getattr(identity, name)) is not None}


def open_start(identity: TrainIdentity) -> Reranker:
    """The checkpoint that a job starts from, cut to the layers it asks for, with the score convention of its loss.

    Raises:
        UserError: it cannot be loaded or cut.
    """
    start = load_reranker(identity.start, **overrides(identity))
    _cut(start.module, identity.encoder_layers, identity.decoder_layers)
    # Other weights give other scores, which the start's calibration says nothing about.
    contract = replace(start.contract, score=LOSSES[identity.loss].score, calibration=None)
    return Reranker(start.module, PairEncoder(start.encoder.tokenizer, contract))


def _cut(module: nn.Module, encoder: str | None, decoder: str | None) -> None:
    """Keep the layers that two rules ask for; None keeps all."""
    if isinstance(module, OneStepT5):
        cut(module.t5, encoder, decoder)
        return
    if decoder is not None:
        raise UserError("decoder_layers is for T5 starts; leave it out")
    if encoder is not None:
        if not isinstance(module, CrossEncoder):
            raise UserError("encoder_layers is for T5 and encoder starts; leave it out")
        cut_encoder(module.model, encoder)


def load_student(identity: TrainIdentity, checkpointing: bool, device: torch.device) -> Reranker:
    """The student in training mode, on its device, with the job's dropout.

    Raises:
        UserError: it cannot be trained as asked.
    """
    student = open_start(identity)
    module = student.module
    if identity.dropout is not None:
        set_dropout(module, identity.dropout)
    if checkpointing:
        if not isinstance(module, OneStepT5):
            raise UserError("activation_checkpointing is for T5 students; set it to false")
        module.gradient_checkpointing = True
    if identity.full_vocabulary:
        if identity.loss != "ce" or not isinstance(module, OneStepT5):
            raise UserError("full_vocabulary is for the loss `ce` and a T5 student")
        module = FullVocabularyT5(module.t5, *module.answer_ids, module.gradient_checkpointing)
    module.train()
    return Reranker(module, student.encoder, str(device))


class FullVocabularyT5(OneStepT5):
    """Log-probabilities of the two answers among the whole vocabulary [B, 2]: what monoT5 was trained on."""

    def _head(self, state_BD: torch.Tensor, answers_2D: torch.Tensor | None) -> torch.Tensor:
        log_p_BV = self.t5.lm_head(state_BD).float().log_softmax(dim=1)
        return log_p_BV[:, list(self.answer_ids)]


def set_dropout(module: nn.Module, rate: float) -> None:
    """One dropout rate everywhere: the modules, and the plain numbers that attention layers keep."""
    part: Any
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = rate
        elif isinstance(getattr(part, "dropout", None), float):
            part.dropout = rate


def trained_dropout(module: nn.Module) -> float:
    """The highest dropout rate in use."""
    return max((part.p for part in module.modules() if isinstance(part, nn.Dropout)), default=0.0)


def save_student(identity: TrainIdentity, weights: dict[str, torch.Tensor], output: str) -> Reranker:
    """Save trained weights as an ordinary Hugging Face checkpoint with `reranker.json`; returns it, read back.

    Args:
        weights: all of the module's, float32.
        output: the job's directory or URL; the student goes to its `student` directory.
    """
    student = open_start(identity)
    student.module.load_state_dict(weights, strict=False)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary, STUDENT)
        student.save(place)
        upload(place, Store(output), STUDENT)
        return load_reranker(place)
