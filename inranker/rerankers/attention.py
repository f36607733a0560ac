"""Attention of the CPU scorer as one pass over memory, where processor and compiler allow it.

`attention.cpp` is compiled for this very machine at first use and kept in the user's cache. Without a C++ compiler,
or without AVX-512's bf16 products, `available` is false and torch's own operators do the work.

Dimensions: B inputs that lie end to end, T tokens in all, H heads, K head width, D model.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

SOURCE = Path(__file__).with_name("attention.cpp")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC")
COMPILE_SECONDS = 120
# Widths that the products take; a row of biases may be read this far past its end.
WIDTH_STEP = 32
OVERREAD = 16

log = logging.getLogger(__name__)


def available(width: int) -> bool:
    """Whether heads of this width can be attended to here."""
    return width % WIDTH_STEP == 0 and _library() is not None


def distance_biases(bias_HLL: torch.Tensor) -> torch.Tensor:
    """A position bias [H, L, L] by distance, as `attend` wants it: that of key j for query i at L − 1 + j − i."""
    heads, longest, _ = bias_HLL.shape
    by_distance = torch.zeros(heads, 2 * longest - 1 + OVERREAD)
    by_distance[:, longest - 1 : 2 * longest - 1] = bias_HLL[:, 0, :]
    by_distance[:, : longest - 1] = bias_HLL[:, 1:, 0].flip(1)
    return by_distance


def attend(qkv_T3HK: torch.Tensor, bias: torch.Tensor, lengths: Sequence[int] | np.ndarray, heads: int) -> torch.Tensor:
    """Attention of each input within itself, unscaled as T5 has it.

    Args:
        qkv_T3HK: bfloat16 [T, 3 · H · K].
        bias: from `distance_biases`, made for inputs at least as long as the longest here.
        lengths: of each input, in order.
        heads: H.

    Returns:
        bfloat16 [T, H · K].
    """
    context = torch.empty((len(qkv_T3HK), qkv_T3HK.shape[1] // 3), dtype=torch.bfloat16)
    _call(qkv_T3HK, None, bias, lengths, heads, None, None, context)
    return context


def attend_quantized(
    qkv_T3HK: torch.Tensor, scale_T1: torch.Tensor, bias: torch.Tensor, lengths: Sequence[int] | np.ndarray, heads: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """`attend` for numbers that still lack the scale of their token; returns bytes around 128 [T, H · K] and the
    scale of each token [T, 1]."""
    small = torch.empty((len(qkv_T3HK), qkv_T3HK.shape[1] // 3), dtype=torch.uint8)
    out_scale_T1 = torch.empty((len(qkv_T3HK), 1))
    _call(qkv_T3HK, scale_T1, bias, lengths, heads, small, out_scale_T1, None)
    return small, out_scale_T1


def pool(query_BHD: torch.Tensor, states_TD: torch.Tensor, lengths: Sequence[int] | np.ndarray) -> torch.Tensor:
    """The states of each input, averaged by one unscaled query's attention; everything bfloat16.

    Args:
        query_BHD: one query of every head for each input.
        states_TD: the inputs' states, end to end.
        lengths: of each input, in order.

    Returns:
        [B, H, D].
    """
    library, sizes = _library(), np.ascontiguousarray(lengths, dtype=np.int64)
    count, heads, depth = query_BHD.shape
    query_BHD, states_TD = query_BHD.contiguous(), states_TD.contiguous()
    if library is None or depth % WIDTH_STEP or {query_BHD.dtype, states_TD.dtype} != {torch.bfloat16}:
        raise ValueError("ask available() first, and give bfloat16")
    if sizes.sum() != len(states_TD) or len(sizes) != count or sizes.min(initial=1) < 1:
        raise ValueError(f"{count} lengths must add up to {len(states_TD)} tokens")
    pooled_BHD = torch.empty_like(query_BHD)
    inputs = (query_BHD.data_ptr(), states_TD.data_ptr(), int(sizes.max(initial=1)), sizes.ctypes.data, count)
    if library.pool(*inputs, heads, depth, pooled_BHD.data_ptr()):
        raise MemoryError("attention found no memory")
    return pooled_BHD


def _call(
    qkv_T3HK: torch.Tensor,
    scale_T1: torch.Tensor | None,
    bias: torch.Tensor,
    lengths: Sequence[int] | np.ndarray,
    heads: int,
    small: torch.Tensor | None,
    out_scale_T1: torch.Tensor | None,
    context: torch.Tensor | None,
) -> None:
    library, sizes = _library(), np.ascontiguousarray(lengths, dtype=np.int64)
    longest = (bias.shape[1] - OVERREAD + 1) // 2
    width = qkv_T3HK.shape[1] // (3 * heads)
    if library is None or width % WIDTH_STEP or qkv_T3HK.dtype != torch.bfloat16 or not qkv_T3HK.is_contiguous():
        raise ValueError("ask available() first, and give contiguous bfloat16")
    if sizes.sum() != len(qkv_T3HK) or sizes.min(initial=1) < 1 or sizes.max(initial=1) > longest:
        raise ValueError(f"lengths must add up to {len(qkv_T3HK)} tokens, none above {longest}")
    tensors = (qkv_T3HK, scale_T1, bias, small, out_scale_T1, context)
    qkv, scale, biases, rounded, out_scale, plain = (None if each is None else each.data_ptr() for each in tensors)
    inputs = (qkv, scale, biases, bias.shape[1], longest, sizes.ctypes.data, len(sizes), heads, width)
    if library.attend(*inputs, rounded, out_scale, plain):
        raise MemoryError("attention found no memory")


@cache
def _library() -> ctypes.CDLL | None:
    """The compiled kernel; None where there can be none."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        return None
    try:
        library = ctypes.CDLL(str(_compiled(compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("attention was not compiled (%s); torch's own operators do it, more slowly", type(error).__name__)
        return None
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    library.attend.argtypes = [pointer, pointer, pointer, size, size, pointer, size, size, size, *[pointer] * 3]
    library.pool.argtypes = [pointer, pointer, size, pointer, size, size, size, pointer]
    return library if library.lanes() else None


def _compiled(compiler: str) -> Path:
    """The shared library for this source, compiler and processor, made when it is not in the cache yet."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=COMPILE_SECONDS).stdout
    parts = [SOURCE.read_bytes(), version, " ".join(FLAGS).encode(), _processor()]
    key = hashlib.sha256(b"\0".join(parts))
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inranker"
    library = folder / f"attention-{key.hexdigest()[:16]}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / library.name
            command = [compiler, *FLAGS, "-o", str(made), str(SOURCE)]
            subprocess.run(command, capture_output=True, check=True, timeout=COMPILE_SECONDS)
            os.replace(made, library)  # several processes may make it at once; each replaces a whole file by its like
    return library


def _processor() -> bytes:
    """What tells processors with other instructions apart, where several share one cache."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    return b"\n".join(sorted({line for line in lines if line.startswith((b"flags", b"model name", b"Features"))}))
