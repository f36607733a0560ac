"""The worker's loop in this process, without Ray: which students it makes, and what it writes down."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inranker.errors import UserError
from inranker.losses import LOSSES
from inranker.rerankers import load_contract, load_reranker
from inranker.training.check import check
from inranker.training.config import Dev, TrainConfig, TrainExecution, TrainIdentity
from inranker.training.custody import find_source
from inranker.training.dev import DEV_SCORE, dev_identity
from inranker.training.job import Job, Place, seed_part
from inranker.training.worker import Trainer, run
from tests.builders import make_pairs, make_t5, make_tokenizer, pair_rows
from tests.unit.training.labels import make_collection, make_labels


class NoHooks:
    """Nobody keeps checkpoints and nobody asks to stop."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def latest(self) -> nullcontext[None]:
        return nullcontext(None)

    def keep(self, place: Path, metrics: dict[str, Any]) -> None:
        assert (place / "state.json").exists()

    def tell(self, progress: dict[str, Any]) -> bool:
        self.told.append(progress)
        return False


@pytest.fixture(autouse=True)
def worker(alone) -> Iterator[None]:
    """This process is the job's only worker."""
    with alone():
        yield


@pytest.fixture(scope="module")
def soft(tmp_path_factory) -> TrainIdentity:
    folder = tmp_path_factory.mktemp("worker")
    start = make_t5(folder / "start", make_tokenizer(folder / "tokenizer"), seed=3)
    labels = make_labels(folder / "labels", make_pairs(folder / "pairs", pair_rows(60)), scale=0.02)
    return TrainIdentity(start=str(start), labels=str(labels), steps=3, learning_rate=1e-3)


@pytest.fixture
def job(tmp_path):
    def make(identity: TrainIdentity, **execution: Any) -> Job:
        chosen = TrainExecution(log_every=1, cache=str(tmp_path / "cache"), **execution)
        measured = dev_identity(identity.dev)
        return Job(identity, chosen, find_source(identity), str(tmp_path / "out"), False, 1, measured)

    return make


def hard(soft: TrainIdentity, **fields: Any) -> TrainIdentity:
    pairs = str(Path(soft.labels or "").parent / "pairs")
    return replace(soft, labels=None, pairs=pairs, loss="ce", **fields)


@pytest.mark.parametrize("loss", [name for name, loss in LOSSES.items() if loss.needs == "teacher"])
def test_every_soft_loss_trains_a_student_that_ranks_as_it_was_taught(loss, soft, job, tmp_path):
    outcome = run(job(replace(soft, loss=loss)), Place(), NoHooks())
    assert outcome["step"] == outcome["steps"] == 3 and not outcome["stopped"]
    assert load_contract(tmp_path / "out" / "student").score == LOSSES[loss].score
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    for line in lines:
        assert all(np.isfinite(value) for value in line.values())
        assert line["delta"] > 0 and line["s"] > 0
    if loss == "mse":
        assert lines[0]["delta"] + lines[0]["s"] == pytest.approx(lines[0]["loss"], rel=1e-5)
    before = load_reranker(soft.start).module.state_dict()
    after = load_reranker(tmp_path / "out" / "student").module.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("full_vocabulary", [False, True])
def test_hard_labels_draw_one_negative_per_positive(full_vocabulary, soft, job):
    identity = hard(soft, steps=None, epochs=2, batch_size=6, full_vocabulary=full_vocabulary)
    outcome = run(job(identity), Place(), NoHooks())
    assert outcome["steps"] == 4  # 6 positives and 6 negatives of 60 pairs, in batches of 6, twice


def test_full_vocabulary_loss_is_monot5s(soft, job):
    """−log of the labelled token's share of all 32k-odd, as a Hugging Face T5 gives it for one target token."""
    identity = hard(soft, full_vocabulary=True, dropout=0.0, negatives_per_positive=9)
    trainer = Trainer(job(identity), Place(), NoHooks(), torch.device("cpu"))
    batch = trainer.data.batch(np.arange(20))
    mine = trainer.loss(trainer.engine(batch.input_ids_BL, batch.mask_BL), batch.targets)
    module = load_reranker(soft.start).module
    assert batch.targets.labels_B is not None and batch.mask_BL is not None
    answers = torch.tensor(module.answer_ids)[batch.targets.labels_B]
    with torch.no_grad():
        theirs = module.t5(
            input_ids=batch.input_ids_BL, attention_mask=batch.mask_BL.long(), labels=answers[:, None]
        ).loss
    assert mine.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_a_student_that_starts_as_its_own_teacher_learns_only_by_dropout(soft, job, tmp_path):
    """Self-distillation: without dropout the ranking part of Eq. 2 is zero at the start."""
    from inranker.rerankers.encode import PairEncoder

    trainer = Trainer(job(replace(soft, dropout=0.0)), Place(), NoHooks(), torch.device("cpu"))
    reranker = load_reranker(soft.start)
    assert isinstance(reranker.encoder, PairEncoder)
    rows = pair_rows(60)
    encoded = reranker.encoder.encode([row["query"] for row in rows], [row["passage"] for row in rows])
    trainer.data.teacher = reranker.logits(encoded)
    still = trainer.update(np.arange(32), stop=False)
    again = Trainer(job(replace(soft, dropout=0.2)), Place(), NoHooks(), torch.device("cpu"))
    again.data.teacher = trainer.data.teacher
    moving = again.update(np.arange(32), stop=False)
    assert still[1] < 1e-9 < 1e-4 < moving[1]


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> str:
    return make_collection(tmp_path_factory.mktemp("collection"))


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_student_of_the_best_measurement_is_kept(keep, soft, job, collection, tmp_path, monkeypatch):
    from inranker.training import worker

    saved = []
    real = worker.save_student
    monkeypatch.setattr(worker, "save_student", lambda *given: saved.append(given[1]) or real(*given))
    monkeypatch.setattr(worker.DevRun, "measure", lambda *_, scores=[0.2, 0.5, 0.5, 0.4]: scores.pop(0))
    dev = Dev(collection, "dev", queries=5, depth=4, every=2, keep=keep)
    outcome = run(job(replace(soft, steps=8, dev=dev)), Place(), NoHooks())
    assert outcome["dev"] == 0.5
    assert outcome["saved_step"] == (4 if keep == "best" else 8)
    assert len(saved) == (2 if keep == "best" else 1)
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    measured = {line["step"]: line[DEV_SCORE] for line in lines if DEV_SCORE in line}
    assert measured == {2: 0.2, 4: 0.5, 6: 0.5, 8: 0.4}


def test_a_checkpoint_says_what_was_measured_at_its_step(soft, job, collection, monkeypatch):
    from inranker.training import worker

    monkeypatch.setattr(worker.DevRun, "measure", lambda *_, scores=[0.5, 0.2]: scores.pop(0))
    kept: list[dict[str, Any]] = []
    hooks = NoHooks()
    hooks.keep = lambda place, metrics: kept.append(metrics)  # type: ignore[method-assign]
    dev = Dev(collection, "dev", queries=5, depth=4, every=2)
    run(job(replace(soft, steps=4, dev=dev), checkpoint_every=1), Place(), hooks)
    assert [metrics.get(DEV_SCORE) for metrics in kept] == [None, 0.5, None, 0.2]


def test_measurements_are_those_of_the_evaluate_stage(soft, job, collection):
    from inranker.evaluation.config import EvaluateConfig, EvaluateIdentity
    from inranker.evaluation.stage import evaluate

    dev = Dev(collection, "dev", queries=9, depth=4, every=1)
    outcome = run(job(replace(soft, steps=1, learning_rate=0.0, dev=dev)), Place(), NoHooks())
    chosen = EvaluateIdentity(collection, split="dev", systems=["bm25", soft.start], depth=4, max_queries=9)
    systems = evaluate(EvaluateConfig(chosen))["systems"]
    (own,) = (values for name, values in systems.items() if name != "bm25")
    assert outcome["dev"] == pytest.approx(own["nDCG@10"], abs=1e-9)
    assert outcome["dev"] != systems["bm25"]["nDCG@10"]


def test_without_qrels_held_out_labels_measure_as_the_agree_stage_does(soft, job, tmp_path):
    from inranker.evaluation.agree import AgreeConfig, AgreeIdentity, agree
    from inranker.evaluation.config import EvaluateExecution

    held_out = str(make_labels(tmp_path / "dev", make_pairs(tmp_path / "pairs", pair_rows(120, seed=9)), scale=0.02))
    dev = Dev(labels=held_out, queries=9, every=1)
    outcome = run(job(replace(soft, steps=1, learning_rate=0.0, dev=dev)), Place(), NoHooks())
    chosen = AgreeIdentity(["bm25", f"student={soft.start}"], held_out, max_queries=9, resamples=100)
    found = agree(AgreeConfig(chosen, None, EvaluateExecution("cpu", progress=False)))
    assert outcome["dev"] == pytest.approx(found["systems"]["student"]["nDCG@10"], abs=1e-9)
    assert found["queries"] == 9 and found["pairs"] == 90 and 0.3 < outcome["dev"] < 1
    # These labels fall from row to row and so do ranks, but for the first of ten, which no first stage found.
    assert 0.5 < found["systems"]["bm25"]["tau"] < 1 and found["systems"]["bm25"]["top-1"] == 0
    with pytest.raises(UserError, match="those that are trained on"):
        check(TrainConfig(replace(soft, dev=Dev(labels=soft.labels)), str(tmp_path / "out")))


def test_progress_is_told_at_every_update(soft, job):
    hooks = NoHooks()
    run(job(soft), Place(), hooks)
    assert [told["step"] for told in hooks.told] == [1, 2, 3]
    assert {"loss", "steps", "pairs", "pairs_before"} <= hooks.told[-1].keys()


def test_tensorboard_gets_the_curves(soft, job, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(job(soft), Place(), NoHooks())
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    drawn = [(event.step, event.value) for event in events.Scalars("loss")]
    assert drawn == [(line["step"], pytest.approx(line["loss"])) for line in lines]


def test_a_saved_student_that_is_not_the_trained_one_is_noticed(soft, job, monkeypatch):
    from inranker.training import worker

    def wrong(engine: Any, keep: bool) -> dict[str, torch.Tensor]:
        return {name: tensor + 0.1 for name, tensor in whole(engine, keep).items()}

    whole = worker.whole_weights
    monkeypatch.setattr(worker, "whole_weights", wrong)
    with pytest.raises(RuntimeError, match="saved student's logits differ"):
        run(job(soft), Place(), NoHooks())


def test_full_vocabulary_is_for_ce_alone(soft, job):
    with pytest.raises(UserError, match="full_vocabulary is for the loss `ce`"):
        run(job(replace(soft, full_vocabulary=True)), Place(), NoHooks())


def test_dropout_seeds_differ_by_step_and_part():
    states = set()
    for step in range(3):
        for part in range(3):
            seed_part(42, step, part)
            states.add(torch.rand(1).item())
    assert len(states) == 9
    seed_part(42, 0, 0)
    first = torch.rand(1).item()
    assert first in states
