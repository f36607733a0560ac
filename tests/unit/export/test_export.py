"""Exports are held to their originals, and give their logits through every backend."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inranker.errors import UserError
from inranker.export.backends import load_backend
from inranker.export.config import ExportConfig, Limits, Sample
from inranker.export.record import damage, read_record
from inranker.export.stage import export, plan, verify
from inranker.ranking import Ranker
from inranker.rerankers import load_reranker
from tests.builders import pair_rows

KINDS = [("onnx", "float32"), ("onnx", "int8"), ("ct2", "float32"), ("ct2", "int8")]
# Largest |Δlogit| that a precision may cost, as a share of the logits' range.
SHARE = {"float32": 1e-4, "int8": 0.1}


def texts() -> tuple[list[str], list[str]]:
    rows = pair_rows(60, seed=9)
    return [str(row["query"]) for row in rows], [str(row["passage"]) for row in rows]


@pytest.mark.parametrize(("format", "precision"), KINDS)
def test_a_backend_gives_the_originals_logits(
    exported: Callable[..., Path], model: Path, format: str, precision: str
) -> None:
    original, backend = load_reranker(model), load_backend(exported(format, precision), format, threads=2)
    encoded = backend.encoder.encode(*texts())
    expected, got = original.logits(encoded), backend.logits(encoded)
    assert got.dtype == np.float32 and got.shape == (60, 2)
    spread = float(np.ptp(expected, axis=0).min())
    assert spread > 3
    error = np.abs(got - expected).max()
    assert error < SHARE[precision] * spread
    # Quantised is really quantised, and exact is really exact.
    assert (error > 1e-4) == (precision == "int8")
    assert backend.contract == original.contract


@pytest.mark.parametrize(("format", "precision"), KINDS)
def test_logits_do_not_depend_on_batch_mates_or_threads(
    exported: Callable[..., Path], format: str, precision: str
) -> None:
    path = exported(format, precision)
    backend, alone = load_backend(path, format, threads=2), load_backend(path, format, threads=1)
    encoded = backend.encoder.encode(*texts())
    together = backend.logits(encoded)
    one_by_one = np.concatenate([alone.logits(encoded.take([row])) for row in range(len(encoded))])
    assert np.abs(together - one_by_one).max() < 1e-4
    small = backend.logits(encoded, token_budget=64)
    assert np.abs(together - small).max() < 1e-4


def test_ctranslate2_leaves_torch_its_threads(exported: Callable[..., Path]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        backend = load_backend(exported("ct2", "int8"), "ct2", threads=2)
        backend.logits(backend.encoder.encode(*texts()))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_record_says_what_it_is_and_where_it_is_from(exported: Callable[..., Path], model: Path) -> None:
    path = exported("onnx", "int8")
    record = read_record(path)
    assert (record.format, record.precision, record.architecture) == ("onnx", "int8", "t5")
    assert record.parity["pairs"] == 72 and record.parity["kendall_tau"] >= 0.95
    assert record.parity["ndcg_original"] is not None and record.parity["limits"]["max_logit_error"] == 1.0
    assert {"onnx/model.onnx", "reranker.json", "tokenizer.json", "config.json"} <= set(record.files)
    assert damage(path, record) == []
    assert not list(path.rglob("*.pkl")) and not list(path.parent.glob(".*"))
    plain = read_record(exported("onnx", "float32"))
    assert plain.source == record.source and plain.fingerprint != record.fingerprint
    assert plain.parity["max_logit_error"] < 1e-3


def test_int8_is_smaller(exported: Callable[..., Path]) -> None:
    for format, file in (("onnx", "onnx/model.onnx"), ("ct2", "ct2/model.bin")):
        large, small = (exported(format, precision) / file for precision in ("float32", "int8"))
        assert small.stat().st_size < large.stat().st_size


@pytest.mark.parametrize("limits", [Limits(max_logit_error=0.0), Limits(min_kendall_tau=1.1)])
def test_a_refused_export_leaves_nothing(make: Callable[..., ExportConfig], tmp_path: Path, limits: Limits) -> None:
    with pytest.raises(UserError, match=r"not true enough.*--limits"):
        export(make(tmp_path / "out", precision="int8", limits=limits))
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_names_seven_bits_where_eight_overflow(
    make: Callable[..., ExportConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inranker.export.stage.multiplies_in_16_bits", lambda: True)
    limits = Limits(max_logit_error=0.0)
    with pytest.raises(UserError, match="use reduce_range true for this processor, or use precision float32"):
        export(make(tmp_path / "eight", precision="int8", limits=limits, reduce_range=False))
    with pytest.raises(UserError, match="nothing was kept; use precision float32"):
        export(make(tmp_path / "seven", precision="int8", limits=limits, reduce_range=True))


def test_the_same_again_is_skipped_and_another_is_refused(
    exported: Callable[..., Path], make: Callable[..., ExportConfig], tmp_path: Path
) -> None:
    path = exported("onnx", "float32")
    assert export(make(path, precision="float32"))["skipped"] is True
    with pytest.raises(UserError, match=r"identity\.precision: 'float32' -> 'int8'"):
        export(make(path, precision="int8"))
    (tmp_path / "full").mkdir()
    with pytest.raises(UserError, match="exists and is no export"):
        export(make(tmp_path / "full"))
    assert plan(make(path, precision="float32"))["done"] and not plan(make(tmp_path / "new"))["done"]


def test_verify_finds_damage(make: Callable[..., ExportConfig], tmp_path: Path) -> None:
    config = make(tmp_path / "out", precision="float32")
    export(config)
    whole = verify(config)
    assert not whole["failed"] and whole["parity"]["max_logit_error"] < 1e-3
    (tmp_path / "out" / "reranker.json").write_text("{}")
    (tmp_path / "out" / "tokenizer.json").unlink()
    found = verify(config)
    assert found["failed"] and found["damage"] == ["reranker.json has another sha256", "tokenizer.json is missing"]


def test_weights_beside_the_model(make: Callable[..., ExportConfig], tmp_path: Path, model: Path) -> None:
    for precision in ("float32", "int8"):
        output = tmp_path / precision
        export(make(output, precision=precision, external_data_bytes=1000))
        names = {file.name for file in (output / "onnx").iterdir()}
        assert len(names) == 2 and "model.onnx" in names
        backend = load_backend(output, "onnx")
        encoded = backend.encoder.encode(*texts())
        expected = load_reranker(model).logits(encoded)
        assert np.abs(backend.logits(encoded) - expected).max() < SHARE[precision] * np.ptp(expected, axis=0).min()


def test_an_export_moves_and_needs_no_weights(exported: Callable[..., Path], tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.symlink_to(exported("onnx", "float32"))
    backend = load_backend(moved, "onnx", max_length=16)
    encoded = backend.encoder.encode(*texts())
    assert encoded.lengths.max() == 16 and np.isfinite(backend.logits(encoded)).all()


def test_a_checkpoint_is_a_backend_too(model: Path) -> None:
    backend = load_backend(model, "torch", precision="bfloat16")
    assert backend.logits(backend.encoder.encode(*texts())).shape == (60, 2)


def test_nothing_to_score(exported: Callable[..., Path]) -> None:
    for format in ("onnx", "ct2"):
        backend = load_backend(exported(format, "float32"), format)
        assert backend.logits(backend.encoder.encode([], [])).shape == (0, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tensorrt"}, "not one of torch, onnx, ct2"),
        ({"backend": "ct2"}, "is an export for onnx; use backend 'onnx'"),
        ({"backend": "torch"}, "is an export for onnx"),
        ({"backend": "onnx", "precision": "int8"}, "was exported in float32"),
        ({"backend": "onnx", "threads": 0}, "threads 0"),
        ({"backend": "onnx", "device": "cuda"}, "no cuda"),
        ({"backend": "onnx", "device": "tpu"}, "no tpu"),
        ({"backend": "onnx", "true_token": "▁open"}, "export the model with those answers"),
    ],
)
def test_what_cannot_be_loaded_is_said(exported: Callable[..., Path], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_backend(exported("onnx", "float32"), **options)


def test_a_checkpoint_without_export_says_how_to_make_one(model: Path) -> None:
    with pytest.raises(UserError, match=r"pipelines/export\.py --model"):
        load_backend(model, "onnx")


def test_a_damaged_model_file_is_named(exported: Callable[..., Path], tmp_path: Path) -> None:
    import shutil

    for format, file in (("onnx", "onnx/model.onnx"), ("ct2", "ct2/model.bin")):
        copy = tmp_path / format
        shutil.copytree(exported(format, "float32"), copy)
        (copy / file).write_bytes(b"not a model")
        with pytest.raises(UserError, match="cannot load it"):
            load_backend(copy, format)
    (tmp_path / "onnx" / "export.json").write_text(json.dumps({"format": "onnx"}))
    with pytest.raises(UserError, match="not a record of an export"):
        load_backend(tmp_path / "onnx", "onnx")


def test_samples_that_show_nothing_are_refused(make: Callable[..., ExportConfig], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="show no order"):
        export(make(tmp_path / "out", sample=Sample(queries=0)))
    with pytest.raises(UserError, match="local directory"):
        export(replace(make(tmp_path), output="s3://bucket/x"))


@pytest.mark.parametrize("format", ["onnx", "ct2"])
def test_a_ranker_ranks_alike_on_every_backend(exported: Callable[..., Path], model: Path, format: str) -> None:
    query, passages = texts()[0][0], texts()[1][:12]
    expected = Ranker(model, precision="float32").rank(query, passages)
    found = Ranker(exported(format, "float32"), backend=format).rank(query, passages, top_k=5)
    assert [each.index for each in found] == [each.index for each in expected[:5]]
    assert found[0].score == pytest.approx(expected[0].score, abs=1e-3)
