"""A cut cross-encoder trained by the worker's loop, on hard labels over a query's candidates and on logits."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from inranker.rerankers import load_reranker
from inranker.rerankers.contract import FAMILIES, save_contract
from inranker.training.config import TrainExecution, TrainIdentity
from inranker.training.custody import find_source
from inranker.training.job import Job, Place
from inranker.training.worker import run
from tests.builders import make_pairs, make_tokenizer, pair_rows
from tests.unit.training.labels import make_labels


class NoHooks:
    """Nobody keeps checkpoints and nobody asks to stop."""

    def latest(self) -> nullcontext[None]:
        return nullcontext(None)

    def keep(self, place: Path, metrics: dict[str, Any]) -> None:
        assert (place / "state.json").exists()

    def tell(self, progress: dict[str, Any]) -> bool:
        return False


@pytest.fixture(autouse=True)
def worker(alone) -> Iterator[None]:
    """This process is the job's only worker."""
    with alone():
        yield


@pytest.fixture
def start(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(make_tokenizer(tmp_path / "tokenizer"))
    torch.manual_seed(2)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
    config = BertConfig(**shape, vocab_size=len(tokenizer), num_labels=1, max_position_embeddings=128)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "start")
    tokenizer.save_pretrained(tmp_path / "start")
    save_contract(tmp_path / "start", replace(FAMILIES["cross-encoder"], max_length=64))
    return tmp_path / "start"


@pytest.mark.parametrize(("loss", "precision"), [("lce", "bfloat16"), ("mse", "float32")])
def test_a_cut_cross_encoder_learns_and_is_saved_as_it_was_trained(loss, precision, start, tmp_path):
    pairs = make_pairs(tmp_path / "pairs", pair_rows(60))
    data = (
        {"pairs": str(pairs)} if loss == "lce" else {"labels": str(make_labels(tmp_path / "labels", pairs, scale=0.02))}
    )
    identity = TrainIdentity(
        start=str(start), **data, loss=loss, steps=30, batch_size=30, learning_rate=3e-3, dropout=0.0,
        encoder_layers="every 3", precision=precision,
    )  # fmt: skip
    execution = TrainExecution(log_every=1, cache=str(tmp_path / "cache"), trackers=[])
    run(Job(identity, execution, find_source(identity), str(tmp_path / "out"), False, 1), Place(), NoHooks())
    losses = [json.loads(line)["loss"] for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 30 and sum(losses[-5:]) < 0.95 * sum(losses[:5])
    student = load_reranker(tmp_path / "out" / "student")
    assert len(student.module.model.bert.encoder.layer) == 2 and student.contract.max_length == 64
