"""Fixtures that every kind of test may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from inranker.crashpoints import CRASH_FILE
from inranker.raysession import session_options
from tests.builders import make_pairs, make_t5, make_tokenizer, pair_rows
from tests.s3_server import S3Server

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real collections and vocabularies that may not be redistributed with the project."""
    folder = Path(os.environ.get("INRANKER_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "collections").is_dir():
        pytest.skip(f"real collections are not at {folder} (set INRANKER_SHARED)")
    return folder


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Variables that Ray's processes must be born with: where S3 will be, and where crash points look for orders."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    variables = {
        **server.environment,
        CRASH_FILE: str(tmp_path_factory.mktemp("crash") / "order"),
        # What `inranker.serving.cluster` sets where it starts a Ray of its own; proxies are hurried along.
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "inranker.serving.protocol.proxy_callback",
        "INRANKER_SERVE_HEADER_SECONDS": "1",
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    yield server
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="session")
def s3_server(environment: S3Server) -> Iterator[S3Server]:
    """A real S3 server on loopback."""
    environment.start()
    yield environment
    environment.kill()


@pytest.fixture
def s3_url(s3_server: S3Server) -> str:
    """A place of the test's own in the server's bucket."""
    return s3_server.make_prefix()


@pytest.fixture(scope="session")
def ray_session(environment: S3Server) -> Iterator[None]:
    """A private Ray on this machine, one for all tests; those that kill a driver start their own."""
    import ray

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
