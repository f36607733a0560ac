"""A misbehaving way to the S3 server, and another make of server."""

import uuid
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer
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


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """URL of moto's S3 server, which keeps its objects in this process's memory."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["seaweedfs", "moto"])
def any_s3_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A place of the test's own on each make of S3 server."""
    if request.param == "seaweedfs":
        yield request.getfixturevalue("s3_url")
        return
    request.getfixturevalue("environment")  # credentials
    endpoint, bucket = request.getfixturevalue("moto_endpoint"), f"b{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=bucket)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    S3FileSystem.clear_instance_cache()  # instances keep the endpoint they were born with
    yield f"s3://{bucket}/place"
    S3FileSystem.clear_instance_cache()
