"""What this machine does well: device, precision, threads."""

import os
from pathlib import Path

from inranker.errors import UserError

CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def pick_device(wanted: str | None = None) -> str:
    """`cuda`, `mps` or `cpu`: what is asked for, or the first that is here.

    Raises:
        UserError: the device asked for is unknown or not here.
    """
    import torch

    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted in (None, "auto"):
        return next(name for name, available in here.items() if available)
    assert wanted is not None
    kind = wanted.partition(":")[0]
    if kind not in here:
        raise UserError(f"device {wanted!r} is not one of auto, {', '.join(here)}")
    if not here[kind]:
        raise UserError(f"device {wanted!r} asked for, but torch sees none; use auto or cpu")
    if kind == "cuda" and wanted != "cuda":
        number, count = wanted.partition(":")[2], torch.cuda.device_count()
        if not number.isdecimal() or int(number) >= count:
            raise UserError(f"device {wanted!r} asked for, but torch sees {count} (numbered from 0)")
    return wanted


def pick_precision(device: str, wanted: str | None = None) -> str:
    """bfloat16 where the chip multiplies it natively, float32 otherwise; never float16, which overflows T5.

    Args:
        device: where the model runs.
        wanted: a precision asked for by name, which is taken as it is.
    """
    import torch

    if wanted not in (None, "auto"):
        assert wanted is not None
        return wanted
    if device.startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        from inranker.rerankers.packed import multiplies_bfloat16

        native = device == "cpu" and multiplies_bfloat16()
    return "bfloat16" if native else "float32"


def usable_cores() -> int:
    """CPU cores that this process may use: its affinity, cut by a container's quota (which torch does not see)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CGROUP_LIMIT.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))
