"""Attention in one pass, against the same formula in plain float32."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from inranker.rerankers import attention, load_reranker

LENGTHS = [1, 7, 16, 33, 100, 130]
LONGEST = 140


@pytest.fixture
def machine() -> None:
    if not attention.available(64):
        pytest.skip("no C++ compiler, or no AVX-512 with bf16 products")


@pytest.fixture(scope="module")
def wide_checkpoint(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 whose heads are wide enough for the one pass."""
    folder = tmp_path_factory.mktemp("wide") / "model"
    shutil.copytree(checkpoint, folder)
    torch.manual_seed(6)
    config = T5Config.from_pretrained(checkpoint, d_kv=32)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def expected(
    qkv_T3HK: torch.Tensor, scale_T1: torch.Tensor, bias_HLL: torch.Tensor, heads: int, width: int
) -> torch.Tensor:
    parts, first = [], 0
    for length in LENGTHS:
        rows = slice(first, first + length)
        query, key, value = (qkv_T3HK[rows].float() * scale_T1[rows]).view(length, 3, heads, width).permute(1, 2, 0, 3)
        weights_HLL = torch.softmax(query @ key.transpose(1, 2) + bias_HLL[:, :length, :length], dim=-1)
        parts.append((weights_HLL @ value).transpose(0, 1).reshape(length, -1))
        first += length
    return torch.cat(parts)


@pytest.mark.parametrize(("heads", "width"), [(8, 64), (3, 128), (2, 32)])
def test_one_pass_gives_the_formula(machine: None, heads: int, width: int) -> None:
    generator = torch.Generator().manual_seed(width)
    tokens = sum(LENGTHS)
    qkv_T3HK = torch.randn(tokens, 3 * heads * width, generator=generator).bfloat16()
    scale_T1 = torch.rand(tokens, 1, generator=generator) * 0.3 + 0.1
    distances = torch.randn(heads, 2 * LONGEST - 1, generator=generator)
    position = torch.arange(LONGEST)
    bias_HLL = distances[:, LONGEST - 1 + position[None, :] - position[:, None]]
    by_distance = attention.distance_biases(bias_HLL)

    plain = expected(qkv_T3HK, torch.ones_like(scale_T1), bias_HLL, heads, width)
    context = attention.attend(qkv_T3HK, by_distance, LENGTHS, heads).float()
    assert (context - plain).abs().max() <= 0.01 * plain.abs().max()

    scaled = expected(qkv_T3HK, scale_T1, bias_HLL, heads, width)
    small, out_scale_T1 = attention.attend_quantized(qkv_T3HK, scale_T1, by_distance, LENGTHS, heads)
    restored = (small.float() - 128) * out_scale_T1
    assert small.dtype == torch.uint8
    # Half a step of the rounding to bytes, and bfloat16's share of the largest value.
    assert ((restored - scaled).abs() <= 0.51 * out_scale_T1 + 0.01 * scaled.abs().max()).all()


@pytest.mark.parametrize(("heads", "depth"), [(8, 512), (13, 96)])
def test_one_query_pools_the_states_of_its_input(machine: None, heads: int, depth: int) -> None:
    generator = torch.Generator().manual_seed(heads)
    states_TD = torch.randn(sum(LENGTHS), depth, generator=generator).bfloat16()
    query_BHD = (torch.randn(len(LENGTHS), heads, depth, generator=generator) * 0.1).bfloat16()
    pooled_BHD = attention.pool(query_BHD, states_TD, LENGTHS).float()
    for number, states_LD in enumerate(states_TD.float().split(LENGTHS)):
        weights_HL = torch.softmax(query_BHD[number].float() @ states_LD.T, dim=-1)
        assert (pooled_BHD[number] - weights_HL @ states_LD).abs().max() <= 0.02
    with pytest.raises(ValueError, match="lengths must add up"):
        attention.pool(query_BHD, states_TD[1:], LENGTHS)


def test_lengths_that_do_not_fit_are_refused(machine: None) -> None:
    qkv, bias = torch.zeros(5, 3 * 64, dtype=torch.bfloat16), torch.zeros(1, 2 * 4 - 1 + attention.OVERREAD)
    for lengths in ([4], [5], [0, 4]):
        with pytest.raises(ValueError, match="lengths must add up"):
            attention.attend(qkv, bias, lengths, 1)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_a_model_scores_alike_with_and_without_it(machine: None, wide_checkpoint: Path, texts, monkeypatch, dtype: str):
    model = load_reranker(wide_checkpoint, dtype=dtype)
    encoded = model.encoder.encode(*texts)
    exact = load_reranker(wide_checkpoint).logits(encoded)
    one_pass = np.abs(model.logits(encoded) - exact)
    monkeypatch.setattr(attention, "available", lambda width: False)
    by_operators = np.abs(load_reranker(wide_checkpoint, dtype=dtype).logits(encoded) - exact)
    assert 0 < one_pass.mean() <= 1.5 * by_operators.mean()
    assert one_pass.max() <= 0.05 * np.abs(exact).max()


def test_a_compiler_that_fails_is_no_error(monkeypatch, tmp_path, caplog) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fail(*arguments, **options):
        raise subprocess.CalledProcessError(1, arguments[0])

    monkeypatch.setattr(attention.subprocess, "run", fail)
    assert attention._library.__wrapped__() is None
    assert "more slowly" in caplog.text or not shutil.which("g++")
