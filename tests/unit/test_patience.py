"""What is asked again, for how long, and what is not."""

import itertools
import socket
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from s3fs.errors import translate_boto_error

from inranker import patience
from inranker.patience import is_transient, patiently


def answer(status: int, code: str) -> Exception:
    """What s3fs makes of an error answer."""
    response = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error: Exception = translate_boto_error(ClientError(response, "PutObject"))
    return error


PASSING = [
    answer(409, "ConditionalRequestConflict"),
    answer(409, "OperationAborted"),
    answer(409, "409"),
    answer(429, "TooManyRequests"),
    answer(500, "InternalError"),
    answer(502, "BadGateway"),
    answer(503, "ServiceUnavailable"),
    answer(503, "SlowDown"),
    answer(504, "504"),
    answer(400, "RequestTimeout"),
    # The request was damaged on its way; the next will not be.
    answer(400, "IncompleteBody"),
    answer(400, "BadDigest"),
    answer(400, "XAmzContentSHA256Mismatch"),
    ConnectionResetError(),
    BrokenPipeError(),
    TimeoutError(),
    socket.gaierror(socket.EAI_AGAIN, "try again"),
    aiohttp.ClientPayloadError("half an answer"),
    aiohttp.ServerDisconnectedError(),
    EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
    ConnectionClosedError(endpoint_url="http://127.0.0.1:1"),
    ReadTimeoutError(endpoint_url="http://127.0.0.1:1"),
    OSError(5, "Input/output error"),
]
FINAL = [
    answer(404, "NoSuchKey"),
    answer(404, "NoSuchBucket"),
    answer(403, "AccessDenied"),
    answer(403, "SignatureDoesNotMatch"),
    answer(412, "PreconditionFailed"),
    answer(501, "NotImplemented"),
    answer(400, "InvalidBucketName"),
    answer(400, "KeyTooLongError"),
    NoCredentialsError(),
    FileNotFoundError(),
    OSError(28, "No space left on device"),
    ValueError(),
    KeyError(),
]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses instead of waiting; their sum is the time."""
    pauses: list[float] = []
    monkeypatch.setattr(patience.time, "sleep", pauses.append)
    monkeypatch.setattr(patience.time, "monotonic", lambda: sum(pauses))
    return pauses


def down_for(seconds: float, error: Exception, clock: list[float]) -> Callable[[], str]:
    def operation() -> str:
        if sum(clock) < seconds:
            raise error
        return "done"

    return operation


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_half_a_minute_of_a_passing_error_costs_nothing(error: Exception, clock: list[float]) -> None:
    assert patiently(down_for(30.0, error, clock), "store") == "done"
    assert all(later > 0.5 * earlier for earlier, later in itertools.pairwise(clock[:5]))  # doubled, less jitter
    assert len(clock) < 20 and max(clock) <= patience.LONGEST_PAUSE_SECONDS


@pytest.mark.parametrize("error", FINAL, ids=repr)
def test_a_final_error_is_raised_at_once(error: Exception, clock: list[float]) -> None:
    assert not is_transient(error)
    with pytest.raises(type(error)):
        patiently(down_for(1.0, error, clock), "store")
    assert clock == []


def test_patience_ends(clock: list[float]) -> None:
    calls: list[Any] = []

    def down() -> None:
        calls.append(1)
        raise ConnectionError("down")

    with pytest.raises(ConnectionError):
        patiently(down, "store")
    assert len(calls) > 5 and 30 < sum(clock) <= patience.PATIENCE_SECONDS
