"""One Ray for all tests of a session; tests that kill things start their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from inranker.raysession import session_options
from tests.builders import make_pairs, make_t5, make_tokenizer, pair_rows


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A private Ray on this machine."""
    ray.init(**session_options(cpus=6))
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small vocabulary."""
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory, tokenizer: Path) -> Path:
    """A T5 with random weights."""
    return make_t5(tmp_path_factory.mktemp("teacher") / "model", tokenizer, seed=1)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hundred pairs in shards of 120."""
    return make_pairs(tmp_path_factory.mktemp("pairs") / "out", pair_rows(300), shard_rows=120)
