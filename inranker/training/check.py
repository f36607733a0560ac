"""What cannot work is refused before anything is written."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inranker.errors import UserError
from inranker.losses import LOSSES
from inranker.manifest import read_manifest
from inranker.training.config import TrainConfig, TrainIdentity
from inranker.training.custody import as_list
from inranker.training.deepspeed import zero_config
from inranker.training.trackers import check_trackers


def check(config: TrainConfig) -> None:
    """Refuse what cannot work before anything is written.

    Raises:
        UserError: naming the field.
    """
    identity, execution = config.identity, config.execution
    if identity.loss not in LOSSES:
        raise UserError(f"loss: unknown loss {identity.loss!r}; known: {', '.join(LOSSES)}")
    if identity.full_vocabulary and identity.loss != "ce":
        raise UserError(f"full_vocabulary is for the loss `ce`; it is {identity.loss!r}")
    if (identity.steps is None) == (identity.epochs is None):
        raise UserError("give either `steps` or `epochs`")
    if LOSSES[identity.loss].needs == "teacher" and identity.labels is None:
        raise UserError(f"labels: the loss {identity.loss!r} needs a teacher's logits; name a labels directory")
    for name, least in (("steps", 1), ("epochs", 1), ("batch_size", 1), ("negatives_per_positive", 0)):
        value = getattr(identity, name)
        if value is not None and value < least:
            raise UserError(f"{name}: {value} must be {least} or more")
    for name in ("workers", "gradient_accumulation", "checkpoint_every", "keep_checkpoints", "log_every"):
        if getattr(execution, name) < 1:
            raise UserError(f"{name}: {getattr(execution, name)} must be 1 or more")
    for name in ("queries", "depth", "every"):
        if getattr(identity.dev, name) < 1:
            raise UserError(f"dev.{name}: {getattr(identity.dev, name)} must be 1 or more")
    named = [identity.labels] if isinstance(identity.labels, str) else identity.labels or []
    if identity.dev.labels is not None and identity.dev.labels.rstrip("/") in [url.rstrip("/") for url in named]:
        raise UserError("dev.labels are those that are trained on; name labels of held-out queries")
    if execution.keep_checkpoints_by == "score" and identity.dev.collection is None and identity.dev.labels is None:
        raise UserError("keep_checkpoints_by 'score' needs measurements: name dev.collection or dev.labels")
    if identity.dropout is not None and not 0 <= identity.dropout < 1:
        raise UserError(f"dropout: {identity.dropout} must lie between 0 and 1, without 1")
    parts = execution.workers * execution.gradient_accumulation
    if identity.batch_size < parts:
        raise UserError(
            f"batch_size {identity.batch_size} cannot be cut into workers × gradient_accumulation = {parts} parts"
        )
    zero_config(identity, execution, on_gpu=False)
    check_trackers(execution.trackers)


def require_gradient(identity: TrainIdentity, start: Mapping[str, Any]) -> None:
    """Refuse self-distillation without dropout: a student that is its own teacher then has nothing to learn of ranking.

    Args:
        start: what the start is, by content; see `student.start_identity`.

    Raises:
        UserError: the labels are the start's own, and dropout is 0.
    """
    if identity.text_from is not None or identity.encoder_layers is not None or identity.decoder_layers is not None:
        return
    rate = identity.dropout
    if rate is None and (file := Path(identity.start) / "config.json").exists():
        rate = json.loads(file.read_text("utf-8")).get("dropout_rate")
    for url in as_list(identity.labels):
        scorer = read_manifest(url).identity.get("scorer") or {}
        if rate == 0 and scorer.get("weights_sha256") and scorer["weights_sha256"] == start.get("weights_sha256"):
            raise UserError(
                f"dropout: it is 0, and {identity.start} is the teacher of {url} itself: its logits are their own "
                "targets, so nothing about ranking can be learnt; set dropout to 0.1 or so"
            )
