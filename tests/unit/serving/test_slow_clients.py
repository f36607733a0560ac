"""Clients that are slow on purpose: none holds a connection for longer than the limits say."""

import json
import socket
import time

import httpx
import pytest

from tests.serving import LocalServer

PATIENCE = 10.0


def connect(server: LocalServer) -> socket.socket:
    """A connection to the server."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)


def all_of(connection: socket.socket) -> bytes:
    """Whatever the server sends until it hangs up."""
    received = b""
    while part := connection.recv(1 << 16):
        received += part
    return received


def drip(connection: socket.socket, parts: bytes) -> None:
    """One byte at a time, until the server hangs up."""
    ends = time.monotonic() + PATIENCE
    for part in parts:
        try:
            connection.sendall(bytes([part]))
        except OSError:
            return
        time.sleep(0.02)
        assert time.monotonic() < ends


@pytest.mark.parametrize("sent", [b"", b"POST /v1/rerank HTTP/1.1\r\nHost: a\r\n"])
def test_headers_that_never_end_are_answered_408(server: LocalServer, sent: bytes) -> None:
    start = time.monotonic()
    with connect(server) as connection:
        connection.sendall(sent)
        answer = all_of(connection)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"the headers took longer than 0.6 seconds" in answer
    assert 0.5 < time.monotonic() - start < PATIENCE


def test_headers_byte_by_byte_are_cut_off(server: LocalServer) -> None:
    with connect(server) as connection:
        drip(connection, b"POST /v1/rerank HTTP/1.1\r\n" + b"X-Slow: a\r\n" * 1000)
    assert httpx.get(server.url + "/healthz").status_code == 200


def test_a_body_that_never_ends_is_answered_408(server: LocalServer) -> None:
    with connect(server) as connection:
        head = b"POST /v1/rerank HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head + b'{"query": ')
        answer = all_of(connection)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"the body took longer than 0.6 seconds" in answer


def test_headers_without_end_are_answered_431(server: LocalServer) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Long: ")
        answer = b""
        try:
            for _ in range(100):
                connection.sendall(b"a" * 10_000)
            answer = all_of(connection)
        except OSError:
            pass  # hung up while we were still sending, which is as good
    assert not answer or answer.startswith(b"HTTP/1.1 431 ")
    assert httpx.get(server.url + "/healthz").status_code == 200


def test_many_slow_clients_do_not_keep_a_quick_one_waiting(server: LocalServer) -> None:
    slow = [connect(server) for _ in range(100)]
    try:
        for connection in slow:
            connection.sendall(b"POST /v1/rerank HTTP/1.1\r\nHost:")
        body = {"query": "open a file", "documents": ["read the stream"]}
        assert httpx.post(server.url + "/v1/rerank", json=body, timeout=30).status_code == 200
    finally:
        for connection in slow:
            connection.close()


def test_a_connection_that_is_kept_answers_again_after_a_pause(server: LocalServer) -> None:
    """The patience with headers begins with a request's first byte, not with the last answer."""
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/healthz").status_code == 200
        time.sleep(1.0)
        assert client.get("/healthz").status_code == 200


def test_a_client_that_hangs_up_leaves_nothing_behind(server: LocalServer) -> None:
    body = json.dumps({"query": "open", "documents": ["read the stream " * 20] * 200}).encode()
    head = (
        f"POST /v1/rerank HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for _ in range(5):
        with connect(server) as connection:
            connection.sendall(head.encode() + body)
    ends = time.monotonic() + PATIENCE
    while any(engine.queued for engine in server.service.engines.values()):
        assert time.monotonic() < ends
        time.sleep(0.05)
