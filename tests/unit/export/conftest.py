"""A tiny reranker, a collection to check it on, and its exports."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inranker.export.config import ExportConfig, ExportExecution, ExportIdentity, Limits, Sample
from inranker.export.stage import export
from inranker.rerankers import load_reranker
from inranker.rerankers.packed import multiplies_in_16_bits
from tests.builders import make_tokenizer, sentence
from tests.unit.beir_folder import write_beir


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random T5 that looks at its input: its margins spread over several units."""
    from tests.builders import make_t5

    folder = tmp_path_factory.mktemp("export")
    path = make_t5(folder / "model", make_tokenizer(folder / "tokenizer"), seed=3)
    reranker = load_reranker(path)
    module: Any = reranker.module
    for block in module.t5.decoder.block:
        block.layer[1].EncDecAttention.o.weight.data.mul_(8)
    module.t5.decoder.final_layer_norm.weight.data.mul_(20)
    reranker.save(path)
    return path


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Forty passages and six queries with one judgment each."""
    generator = random.Random(4)
    passages = [{"_id": f"p{i}", "text": sentence(generator, generator.randint(3, 40))} for i in range(40)]
    queries = [{"_id": f"q{i}", "text": sentence(generator, 4)} for i in range(6)]
    qrels = [(f"q{i}", f"p{i * 5}", 1) for i in range(6)]
    folder = write_beir(tmp_path_factory.mktemp("collection"), passages, queries, test=qrels)
    return Sample(collection=f"beir:{folder}", queries=6, depth=12)


@pytest.fixture(scope="session")
def make(model: Path, sample: Sample) -> Callable[..., ExportConfig]:
    """`make(output, format=…, precision=…, limits=…, external_data_bytes=…)` -> the config of an export."""

    def config(output: Path, external_data_bytes: int = 10**9, **fields: Any) -> ExportConfig:
        fields = {"model": str(model), "sample": sample, "limits": Limits(), **fields}
        fields.setdefault("reduce_range", multiplies_in_16_bits())  # else this processor may not be true to it
        execution = ExportExecution(threads=2, external_data_bytes=external_data_bytes)
        return ExportConfig(ExportIdentity(**fields), str(output), execution)

    return config


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, make: Callable[..., ExportConfig]) -> Callable[..., Path]:
    """`exported(format, precision)` -> the directory of that export, made once."""
    made: dict[tuple[str, str], Path] = {}

    def get(format: str, precision: str) -> Path:
        if (format, precision) not in made:
            output = tmp_path_factory.mktemp("exports") / f"{format}-{precision}"
            export(make(output, format=format, precision=precision))
            made[format, precision] = output
        return made[format, precision]

    return get
