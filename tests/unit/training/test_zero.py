"""ZeRO changes where state lives, not what is computed; a checkpoint belongs to no stage and no number of workers."""

import dataclasses

import numpy as np
import pytest

from inranker.rerankers import load_reranker
from inranker.rerankers.create import T5Shape
from inranker.training.config import Dev, TrainExecution, TrainIdentity
from tests.builders import make_pairs, make_t5, make_tokenizer, pair_rows
from tests.unit.training.labels import make_collection, make_labels
from tests.unit.training.processes import Case, run_cases

STEPS = 50
STOPPED_AT = 17
SHAPE = T5Shape(d_model=30, d_ff=62, d_kv=6, num_heads=5, num_layers=2, num_decoder_layers=1)  # nothing divides evenly


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zero")
    start = make_t5(folder / "start", make_tokenizer(folder / "tokenizer"), seed=3, shape=SHAPE)
    pairs = make_pairs(folder / "pairs", pair_rows(90), shard_rows=40)
    labels = make_labels(folder / "labels", pairs, scale=0.02)
    identity = TrainIdentity(
        start=str(start), labels=str(labels), steps=STEPS, batch_size=12, learning_rate=2e-3, dropout=0.0
    )
    listwise = dataclasses.replace(identity, loss="listwise_kl", batch_size=30, steps=10)
    measured = dataclasses.replace(
        identity, steps=6, dev=Dev(make_collection(folder / "collection"), queries=12, depth=7, every=3)
    )
    dropped = dataclasses.replace(identity, dropout=0.2, steps=30)

    def execution(stage: int, workers: int = 2, **fields: object) -> TrainExecution:
        return TrainExecution(
            workers=workers, zero_stage=stage, log_every=1, checkpoint_every=1000, cache=str(folder / "cache"), **fields
        )

    two = [
        Case("stage0", identity, execution(0)),
        Case("stage1", identity, execution(1)),
        Case("stage2", identity, execution(2), stop_after=STOPPED_AT),
        Case("stage2-resumed", identity, execution(2), start_from="stage2"),
        Case("stage3", identity, execution(3), stop_after=STOPPED_AT),
        Case("stage3-resumed", identity, execution(3), start_from="stage3"),
        Case("stage1-resumed-from-3", identity, execution(1), start_from="stage3"),
        Case("stage3-resumed-from-2", identity, execution(3), start_from="stage2"),
        Case("cut", identity, execution(2, gradient_accumulation=3, activation_checkpointing=True)),
        Case("cut3", identity, execution(3, gradient_accumulation=3, activation_checkpointing=True)),
        Case("listwise", listwise, execution(1)),
        Case("measured", measured, execution(3)),
        Case("dropped", dropped, execution(0), stop_after=STOPPED_AT),
        Case("dropped-resumed", dropped, execution(0), start_from="dropped"),
    ]
    one = [
        Case("one", identity, execution(0, workers=1)),
        Case("one-resumed-from-2", identity, execution(0, workers=1), start_from="stage2"),
        Case("listwise-one", listwise, execution(0, workers=1)),
        Case("measured-one", measured, execution(0, workers=1)),
        Case("dropped-one", dropped, execution(0, workers=1, gradient_accumulation=2)),
    ]
    return run_cases(folder, 2, two) | run_cases(folder, 1, one) | {"folder": folder}


def same(left: dict, right: dict, atol: float) -> None:
    np.testing.assert_allclose(left["losses"], right["losses"], rtol=atol, atol=atol)
    assert left["weights"].keys() == right["weights"].keys()
    for name, weight in left["weights"].items():
        np.testing.assert_allclose(weight, right["weights"][name], atol=20 * atol, err_msg=name)


@pytest.mark.parametrize("name", ["stage0", "stage1", "stage2", "stage3", "cut", "cut3"])
def test_zero_stages_accumulation_and_checkpointing_give_the_losses_of_one_process(results, name):
    assert results["one"]["losses"][-1] < 0.8 * results["one"]["losses"][0]
    result = results[name]
    if resumed := results.get(f"{name}-resumed"):
        result = {"losses": result["losses"] + resumed["losses"], "weights": resumed["weights"]}
    assert len(result["losses"]) == STEPS
    same(result, results["one"], 1e-5)


def test_zero_a_stopped_job_says_so_and_kept_its_last_step(results):
    outcome = results["stage2"]["outcome"]
    assert outcome["stopped"] and outcome["step"] == STOPPED_AT and outcome["steps"] == STEPS
    assert len(results["stage2"]["losses"]) == STOPPED_AT


@pytest.mark.parametrize("name", ["stage1-resumed-from-3", "stage3-resumed-from-2", "one-resumed-from-2"])
def test_zero_resume_with_another_stage_or_another_number_of_workers(results, name):
    assert len(results[name]["losses"]) == STEPS - STOPPED_AT
    rest = {"losses": results["one"]["losses"][STOPPED_AT:], "weights": results["one"]["weights"]}
    same(results[name], rest, 1e-5)


def test_zero_losses_over_queries_do_not_depend_on_the_number_of_workers(results):
    same(results["listwise"], results["listwise-one"], 1e-5)


def test_zero_measurements_do_not_depend_on_the_number_of_workers(results):
    mine, theirs = (results[name]["outcome"] for name in ("measured", "measured-one"))
    assert mine["saved_step"] == theirs["saved_step"] and 0 < mine["dev"] < 1
    assert mine["dev"] == pytest.approx(theirs["dev"], abs=1e-9)


def test_dropout_is_that_of_the_step_after_resume_and_for_any_number_of_workers(results):
    rest = {"losses": results["dropped-one"]["losses"][STOPPED_AT:], "weights": results["dropped-one"]["weights"]}
    same(results["dropped-resumed"], rest, 1e-5)


def test_zero_three_saves_whole_weights(results):
    student = load_reranker(results["folder"] / "stage3-resumed-output" / "student")
    trained = results["stage3-resumed"]["weights"]
    for name, parameter in student.module.named_parameters():
        np.testing.assert_allclose(parameter.detach().numpy(), trained[name], atol=1e-6, err_msg=name)
