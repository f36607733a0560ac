"""A server for the tests that only ask."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from inranker.serving.config import Limits, ServeConfig
from tests.builders import make_t5
from tests.serving import LocalServer

HURRIED = Limits(header_seconds=0.6, body_seconds=0.6, body_bytes=1 << 20, documents=200, characters=200_000)


@pytest.fixture(scope="session")
def second_model(tmp_path_factory: pytest.TempPathFactory, tokenizer: Path) -> Path:
    """Another T5 with random weights."""
    return make_t5(tmp_path_factory.mktemp("second") / "second", tokenizer, seed=2)


@pytest.fixture(scope="package")
def server(teacher: Path, second_model: Path) -> Iterator[LocalServer]:
    """Two models behind limits that a test can reach."""
    config = ServeConfig(str(teacher), teacher=str(second_model), engine="local", port=0, threads=1, limits=HURRIED)
    with LocalServer(config) as running:
        yield running
