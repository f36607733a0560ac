"""The end of a server: what a client has begun to ask is answered, and nobody is waited for without end."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inranker.serving.config import ServeConfig
from tests.serving import LocalServer, rerank_body

PATIENCE = 10.0
BODY = json.dumps(rerank_body("open a file", ["read the stream"])).encode()
HEAD = b"POST /v1/rerank HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
HEAD += b"Content-Length: %d\r\n\r\n" % len(BODY)


@pytest.fixture
def ending(teacher: Path) -> Iterator[LocalServer]:
    """A server for a test to end."""
    with LocalServer(ServeConfig(str(teacher), engine="local", port=0, threads=1)) as running:
        yield running


def accepted(server: LocalServer) -> socket.socket:
    """A connection that the server knows of, on which nothing was asked yet."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
    ends = time.monotonic() + PATIENCE
    while not server.server.server_state.connections:
        assert time.monotonic() < ends
        time.sleep(0.005)
    return connection


def wait_until_it_ends(server: LocalServer) -> None:
    """Until the server has begun to end: it no longer listens."""
    server.stop()
    ends = time.monotonic() + PATIENCE
    while server.listening.fileno() != -1:
        assert time.monotonic() < ends
        time.sleep(0.005)


@pytest.mark.parametrize("sent", [0, 20, len(HEAD), len(HEAD) + 5])
def test_a_request_on_its_way_is_answered(ending: LocalServer, sent: int) -> None:
    request = HEAD + BODY
    with accepted(ending) as connection:
        connection.sendall(request[:sent])
        wait_until_it_ends(ending)
        connection.sendall(request[sent:])
        answer = b""
        while part := connection.recv(1 << 16):  # until the server hangs up: no further request is taken
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 ") and b"connection: close" in answer.lower()


def test_a_client_that_asks_nothing_does_not_keep_the_server(ending: LocalServer) -> None:
    start = time.monotonic()
    with accepted(ending) as connection:
        wait_until_it_ends(ending)
        assert connection.recv(1) == b""
        ending.thread.join(PATIENCE)
    assert not ending.thread.is_alive() and time.monotonic() - start < PATIENCE / 2
