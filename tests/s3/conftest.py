"""A misbehaving way to the S3 server."""

from collections.abc import Iterator

import pytest
from s3fs import S3FileSystem

from tests.fault_proxy import FaultProxy, running_proxy
from tests.s3_server import S3Server


@pytest.fixture
def proxy(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A proxy that every store opened in this process during the test goes through."""
    with running_proxy(s3_server.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        S3FileSystem.clear_instance_cache()  # instances keep the endpoint they were born with
        yield proxy
    S3FileSystem.clear_instance_cache()
