"""Training state as whole tensors: independent of the number of workers and of the ZeRO stage.

DeepSpeed's own checkpoints are pickles tied to one world size. Here every weight is written once, in float32, with its
two Adam moments, in safetensors; a job goes on with other workers or another stage. There is no random state to keep:
order, drawn negatives and dropout are functions of (seed, step).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import safe_open, save_file
from torch import nn

from inranker.errors import UserError

STATE = "state.json"
WEIGHT, MOMENTS = "weight", ("exp_avg", "exp_avg_sq")
FILE_BYTES = 1 << 30


def save_state(engine: Any, place: Path, about: dict[str, Any], rank: int, world: int) -> None:
    """Write this rank's share of the state; all ranks together write the whole, and all must call it.

    Args:
        place: a directory of this rank's own or one that all share; the files of the ranks have different names.
        about: plain values to keep: `step` (updates made) at least.
    """
    files = _plan_files(engine.module)
    for number, names in enumerate(files):
        mine = number % world == rank
        tensors: dict[str, torch.Tensor] = {}
        for name in names:
            for key, tensor in _whole_tensors(engine, name):
                if mine:
                    tensors[f"{key}/{name}"] = tensor.detach().float().cpu().contiguous().clone()
        if mine:
            save_file(tensors, str(place / _file_name(number)))
    if rank == 0:
        (place / STATE).write_text(json.dumps({**about, "files": len(files)}))


def load_state(engine: Any, place: Path) -> dict[str, Any]:
    """Put a saved state into an engine that has made no update yet; returns what was kept beside it.

    Raises:
        UserError: the state is of another model, or incomplete.
    """
    about = read_about(place)
    parameters = dict(engine.module.named_parameters())
    _create_moments(engine, float(about["step"]))
    seen: set[str] = set()
    for number in range(about["files"]):
        file = place / _file_name(number)
        if not file.exists():
            raise UserError(f"checkpoint {place} lacks {file.name}; remove the checkpoint to go on from an older one")
        with safe_open(str(file), framework="pt") as state:
            for entry in state.keys():  # noqa: SIM118 - not a mapping
                key, name = entry.split("/", 1)
                if name not in parameters:
                    raise UserError(f"checkpoint {place} has a weight {name} that the student lacks; it is another's")
                _set_tensor(engine, parameters[name], key, state.get_tensor(entry))
                seen.add(name)
    if absent := sorted(parameters.keys() - seen):
        raise UserError(f"checkpoint {place} lacks the weight {absent[0]}; it is another student's")
    return about


def read_about(place: Path) -> dict[str, Any]:
    """What was kept beside the tensors: `step` at least."""
    return json.loads((place / STATE).read_text())


def whole_weights(engine: Any, keep: bool) -> dict[str, torch.Tensor]:
    """All weights in float32 on the CPU, by name; all ranks must call it, those with `keep` get them."""
    weights: dict[str, torch.Tensor] = {}
    for name, parameter in engine.module.named_parameters():
        tensor = _whole(engine, parameter, None)
        if keep and tensor is not None:
            weights[name] = tensor.detach().float().cpu().clone()
    return weights


def _file_name(number: int) -> str:
    return f"state-{number:05d}.safetensors"


def _plan_files(module: nn.Module) -> list[list[str]]:
    """Names of weights, in files of about a gigabyte; the same on every rank and at every stage."""
    files: list[list[str]] = [[]]
    size = 0
    for name, parameter in module.named_parameters():
        needed = 12 * getattr(parameter, "ds_numel", parameter.numel())
        if size and size + needed > FILE_BYTES:
            files.append([])
            size = 0
        files[-1].append(name)
        size += needed
    return files


def _whole_tensors(engine: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    parameter = engine.module.get_parameter(name)
    for key in (WEIGHT, *MOMENTS):
        tensor = _whole(engine, parameter, None if key == WEIGHT else key)
        if tensor is not None:
            yield key, tensor


def _is_plain(engine: Any) -> bool:
    """Whether the optimiser is torch's own, with nothing shared out (stage 0 in float32)."""
    return isinstance(engine.optimizer, torch.optim.Optimizer)


def _whole(engine: Any, parameter: nn.Parameter, moment: str | None) -> torch.Tensor | None:
    """A weight in float32, or one of its moments; None where a weight has had no gradient yet."""
    if _is_plain(engine):
        return parameter.data if moment is None else engine.optimizer.state[parameter].get(moment)
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    if moment is None:
        return safe_get_full_fp32_param(parameter)
    return safe_get_full_optimizer_state(parameter, moment)


def _create_moments(engine: Any, step: float) -> None:
    """Optimisers make their state at the first update; a restored one needs it before.

    Where ZeRO shares state out, its flat partitions are the base optimiser's parameters.
    """
    if _is_plain(engine):
        flats = [parameter for group in engine.optimizer.param_groups for parameter in group["params"]]
        base = engine.optimizer
    else:
        zero = engine.optimizer
        base = zero.optimizer
        flats = (
            zero.fp32_partitioned_groups_flat
            if hasattr(zero, "fp32_partitioned_groups_flat")
            else zero.single_partition_of_fp32_groups
        )
    for flat in flats:
        base.state[flat] = {
            "step": torch.tensor(step, dtype=torch.float32, device=flat.device),
            **{moment: torch.zeros_like(flat, memory_format=torch.preserve_format) for moment in MOMENTS},
        }
    if hasattr(engine.optimizer, "_lazy_init_hp_params_optimizer_state"):
        engine.optimizer._lazy_init_hp_params_optimizer_state()


def _set_tensor(engine: Any, parameter: nn.Parameter, key: str, value: torch.Tensor) -> None:
    if hasattr(parameter, "ds_id"):
        _set_partition(parameter, key, value)
        return
    if key == WEIGHT:
        parameter.data.copy_(value)
    if _is_plain(engine):
        if key != WEIGHT:
            engine.optimizer.state[parameter][key].copy_(value)
        return
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

    value = value.to(parameter.device)
    if key == WEIGHT:
        safe_set_full_fp32_param(parameter, value)
    else:
        safe_set_full_optimizer_state(parameter, value, key)


def _set_partition(parameter: Any, key: str, value: torch.Tensor) -> None:
    """Stage 3: this rank's slice of a weight, or of a moment; the last rank's is padded with zeros."""
    from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

    size = parameter.ds_tensor.numel()
    start = size * torch.distributed.get_rank()
    mine = value.flatten()[start : start + size]
    mine = torch.nn.functional.pad(mine, (0, size - len(mine)))
    if key == WEIGHT:
        parameter.ds_tensor.data.copy_(mine)
        safe_set_local_fp32_param(parameter, mine)
    else:
        safe_set_local_optimizer_state(parameter, mine, key)
