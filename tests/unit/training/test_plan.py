"""The plan against counts made by hand and against what a real forward pass keeps."""

from dataclasses import replace

import pytest
import torch

from inranker.errors import UserError
from inranker.rerankers import load_reranker
from inranker.rerankers.shapes import planned_model
from inranker.training.config import Hardware, TrainConfig, TrainExecution, TrainIdentity
from inranker.training.plan import _kept_bytes, activation_bytes, meta_student, offloaded_bytes, plan, state_bytes
from tests.builders import make_pairs, make_t5, make_tokenizer, pair_rows
from tests.unit.training.labels import make_labels


@pytest.fixture(scope="module")
def identity(tmp_path_factory) -> TrainIdentity:
    folder = tmp_path_factory.mktemp("plan")
    start = make_t5(folder / "start", make_tokenizer(folder / "tokenizer"))
    labels = make_labels(folder / "labels", make_pairs(folder / "pairs", pair_rows(60)))
    return TrainIdentity(start=str(start), labels=str(labels), epochs=3, batch_size=8, max_length=64)


def test_state_is_counted_as_adamw_and_zero_keep_it():
    base, bf16 = TrainIdentity(start="x"), TrainIdentity(start="x", precision="bfloat16")
    assert state_bytes(100, base, TrainExecution()) == 100 * (4 + 4 + 8)
    assert state_bytes(100, bf16, TrainExecution()) == 100 * (2 + 2 + 16)
    four = TrainExecution(workers=4, zero_stage=3)
    assert state_bytes(100, bf16, four) == 100 * (2 + 2 + 16) / 4
    assert state_bytes(100, bf16, replace(four, zero_stage=1)) == 100 * (2 + 2 + 16 / 4)
    assert state_bytes(100, bf16, replace(four, zero_stage=2, offload="cpu")) == 100 * (2 + 2 / 4)


def test_activations_are_those_of_a_real_forward_pass(identity):
    module = load_reranker(identity.start).module.train()
    kept: dict[int, torch.UntypedStorage] = {}
    own = {parameter.untyped_storage()._cdata for parameter in module.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage()._cdata not in own:
            kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(torch.ones(3, 40, dtype=torch.long), torch.ones(3, 40, dtype=torch.bool))
    real = sum(storage.nbytes() for storage in kept.values())
    assert activation_bytes(meta_student(identity, planned_model(identity.start), False), 3, 40) == pytest.approx(
        real, rel=0.05
    )


def test_activations_grow_with_pairs_and_shrink_with_checkpointing(identity):
    student = meta_student(identity, planned_model(identity.start), False)
    one, two = _kept_bytes(student, 4, 64), _kept_bytes(student, 8, 64)
    assert 1.9 < two / one < 2.1
    assert activation_bytes(meta_student(identity, planned_model(identity.start), True), 8, 64) < 0.7 * two


def test_a_plan_counts_updates_and_says_what_fits(identity):
    execution = TrainExecution(workers=2, hardware=Hardware(gpu_memory_gb=0.0005, price_per_hour=2.0))
    found = plan(TrainConfig(identity, "out", execution))
    assert found["steps"] == 3 * 8  # 60 pairs in batches of 8
    assert found["pairs"] == 3 * 64
    assert found["parameters"] == load_reranker(identity.start).parameters_count
    assert not any(choice["fits"] for choice in found["choices"]) and found["recommended"] is None
    assert "nothing fits" in found["table"]
    roomy = plan(TrainConfig(identity, "out", TrainExecution()))
    assert roomy["recommended"]["zero_stage"] == 0 and roomy["cost"] is None
    assert roomy["hours"] >= 0


def test_what_is_offloaded_needs_room_in_the_machine(identity):
    hardware = Hardware(host_memory_gb=0.0005)
    found = plan(TrainConfig(identity, "out", TrainExecution(hardware=hardware)))
    moved = {(c["zero_stage"], c["offload"]): (c["offloaded_gb"] * 1e9, c["fits"]) for c in found["choices"]}
    size = found["parameters"]
    assert moved[0, "none"] == (0, True)
    assert moved[2, "cpu"][1] is False and moved[3, "cpu"][1] is False  # 16 and 20 bytes a weight
    assert moved[3, "nvme"][1] is True and "nvme" in found["table"]
    execution = TrainExecution(zero_stage=3, offload="nvme", nvme_path="/tmp")
    assert offloaded_bytes(size, identity, execution) == 20 * size
    assert offloaded_bytes(size, identity, TrainExecution(zero_stage=2, offload="cpu")) == 16 * size


def test_a_plan_refuses_what_training_would(identity):
    with pytest.raises(UserError, match="unknown loss"):
        plan(TrainConfig(replace(identity, loss="rmse"), "out"))
