"""DeepSpeed's config, the schedule, and the checks before anything is written."""

import dataclasses

import pytest
import torch
from torch import nn

from inranker.config import build_config
from inranker.errors import UserError
from inranker.training.check import check
from inranker.training.config import Dev, TrainConfig, TrainExecution, TrainIdentity
from inranker.training.deepspeed import learning_rate, make_optimizer, zero_config
from inranker.training.meter import COLLAPSED_WINDOWS, Meter
from inranker.training.student import set_dropout, trained_dropout

IDENTITY = TrainIdentity(start="t5", labels="labels", steps=100)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_zero_stage_reaches_deepspeed(stage):
    config = zero_config(IDENTITY, TrainExecution(zero_stage=stage, gradient_accumulation=4), on_gpu=False)
    assert config["zero_optimization"]["stage"] == stage
    assert config["gradient_accumulation_steps"] == 4
    assert config["gradient_clipping"] == 1.0
    assert not config["bf16"]["enabled"]


def test_zero_stage_three_partitions_small_weights_too():
    config = zero_config(IDENTITY, TrainExecution(zero_stage=3), on_gpu=False)
    assert config["zero_optimization"]["stage3_param_persistence_threshold"] == 0


def test_zero_bfloat16_keeps_float32_master_weights():
    identity = dataclasses.replace(IDENTITY, precision="bfloat16")
    config = zero_config(identity, TrainExecution(), on_gpu=True)
    assert config["bf16"]["enabled"] and config["zero_optimization"]["stage"] == 1


def test_zero_offload_needs_its_stage_and_its_place():
    assert (
        "offload_optimizer"
        in zero_config(IDENTITY, TrainExecution(zero_stage=2, offload="cpu"), False)["zero_optimization"]
    )
    with pytest.raises(UserError, match="needs zero_stage 1"):
        zero_config(IDENTITY, TrainExecution(offload="cpu"), False)
    with pytest.raises(UserError, match="needs zero_stage 3"):
        zero_config(IDENTITY, TrainExecution(zero_stage=2, offload="nvme", nvme_path="x"), False)
    with pytest.raises(UserError, match="needs nvme_path"):
        zero_config(IDENTITY, TrainExecution(zero_stage=3, offload="nvme"), False)


def test_optimizer_has_hugging_faces_defaults():
    group = make_optimizer([nn.Parameter(torch.zeros(2))], IDENTITY).param_groups[0]
    assert group["lr"] == 7e-5 and group["betas"] == (0.9, 0.999)
    assert group["eps"] == 1e-8 and group["weight_decay"] == 0.0


def test_learning_rate_is_hugging_faces_linear_schedule():
    from transformers import get_linear_schedule_with_warmup

    identity = dataclasses.replace(IDENTITY, warmup_steps=20, learning_rate=1e-3)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = get_linear_schedule_with_warmup(optimizer, 20, 100)
    for step in range(100):
        assert learning_rate(step, 100, identity) == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        schedule.step()
    assert learning_rate(70, 100, dataclasses.replace(identity, schedule="constant")) == 1e-3
    assert learning_rate(0, 100, IDENTITY) == 7e-5


def test_dropout_is_set_everywhere():
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropout = 0.1

    module = nn.Sequential(nn.Dropout(0.1), Attention(), nn.Sequential(nn.Dropout(0.3)))
    assert trained_dropout(module) == 0.3
    set_dropout(module, 0.0)
    assert trained_dropout(module) == 0.0 and module[1].dropout == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "rmse"}, "unknown loss"),
        ({"steps": None}, "either `steps` or `epochs`"),
        ({"epochs": 2}, "either `steps` or `epochs`"),
        ({"labels": None, "pairs": "pairs"}, "needs a teacher's logits"),
        ({"batch_size": 0}, "batch_size"),
        ({"dropout": 1.0}, "dropout"),
        ({"steps": 0}, "steps"),
    ],
)
def test_impossible_jobs_are_refused_in_a_sentence(change, message):
    with pytest.raises(UserError, match=message):
        check(TrainConfig(dataclasses.replace(IDENTITY, **change), "out"))


def test_a_batch_must_be_large_enough_to_be_cut():
    execution = TrainExecution(workers=8, gradient_accumulation=8)
    with pytest.raises(UserError, match="cannot be cut"):
        check(TrainConfig(IDENTITY, "out", execution))


def test_checkpoints_are_kept_by_score_only_where_there_is_one():
    execution = TrainExecution(keep_checkpoints_by="score")
    with pytest.raises(UserError, match="needs measurements"):
        check(TrainConfig(IDENTITY, "out", execution))
    check(TrainConfig(dataclasses.replace(IDENTITY, dev=Dev("beir:x")), "out", execution))


def test_an_unknown_tracker_is_refused():
    with pytest.raises(UserError, match="unknown tracker 'paper'"):
        check(TrainConfig(IDENTITY, "out", TrainExecution(trackers=["paper"])))


def test_recipes_may_not_misspell_a_field():
    with pytest.raises(UserError, match="learning_rte"):
        build_config(TrainConfig, {"identity": {"start": "t5", "learning_rte": 1}, "output": "out"}, "stages.train")


def vector(loss: float, highest: float, lowest: float) -> torch.Tensor:
    return torch.tensor([loss, 0.0, 0.0, highest, -lowest, 0.0])


def test_a_loss_that_is_no_number_stops_the_job():
    meter = Meter(window=10)
    with pytest.raises(UserError, match=r"loss of update 3 is nan: training has collapsed"):
        meter.add(3, vector(float("nan"), 1, 0), 32)


def test_equal_scores_for_long_stop_the_job_and_near_equal_ones_do_not():
    meter = Meter(window=1)
    for step in range(3 * COLLAPSED_WINDOWS):
        meter.add(step, vector(1.0, 0.5001, 0.5), 32)
        meter.close(step)
    with pytest.raises(UserError, match="all scores are equal"):
        for step in range(COLLAPSED_WINDOWS):
            meter.add(step, vector(1.0, 0.5, 0.5), 32)
            meter.close(step)
    assert step == COLLAPSED_WINDOWS - 1


def test_meter_reports_means_over_its_window():
    meter = Meter(window=2)
    meter.add(1, torch.tensor([1.0, 0.6, 0.4, 2, -1, 0]), 32)
    meter.add(2, torch.tensor([3.0, 1.6, 1.4, 2, -1, 0]), 32)
    line = meter.close(2)
    assert (line["loss"], line["delta"], line["s"]) == pytest.approx((2.0, 1.1, 0.9))
    meter.add(3, torch.tensor([5.0, 1.6, 1.4, 2, -1, 0]), 32)
    assert meter.close(3)["loss"] == 5.0
