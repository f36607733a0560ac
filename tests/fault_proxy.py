"""An HTTP proxy on loopback that makes an S3 server misbehave on request.

It forwards every request as it came, the Host header included: the client has signed it. What an order says happens
to the next matching requests, and `Order.met` counts them, so that a test can show that its fault took place.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Fault = Literal["refuse", "drop", "drop-answer", "truncate", "delay"]
CODES = {409: "ConditionalRequestConflict", 500: "InternalError", 503: "ServiceUnavailable"}
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "expect"}


@dataclass
class Order:
    """What to do to requests: `method` and `part` (of the path) choose them, `times` is how many.

    Faults: `refuse` answers with the HTTP status `status` and forwards nothing; `drop` cuts the connection before the
    server hears of the request; `drop-answer` cuts it after the server has done what was asked; `truncate` sends half
    of the answer's body; `delay` waits `seconds` first.
    """

    fault: Fault
    method: str = "GET"
    part: str = ""
    times: float = 1
    status: int = 503
    seconds: float = 0.0
    met: int = 0


class FaultProxy:
    """A proxy in front of `upstream`; without orders it changes nothing."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.orders: list[Order] = []
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    @property
    def endpoint(self) -> str:
        """URL that clients are given in place of the server's."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def order(self, fault: Fault, method: str = "GET", part: str = "", **rest: Any) -> Order:
        """Misbehave from now on as the order says."""
        order = Order(fault, method, part, **rest)
        with self.lock:
            self.orders.append(order)
        return order

    def take(self, method: str, path: str) -> Order | None:
        """The order that this request meets, counted."""
        with self.lock:
            for order in self.orders:
                if order.method in (method, "*") and order.part in path and order.met < order.times:
                    order.met += 1
                    return order
        return None


@contextmanager
def running_proxy(upstream: str) -> Iterator[FaultProxy]:
    """A proxy that is stopped afterwards."""
    proxy = FaultProxy(upstream)
    proxy.thread.start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultProxy

    def _serve(self) -> None:
        body = self._body()
        order = self.proxy.take(self.command, self.path)
        if order is not None and order.fault == "refuse":
            text = f"<Error><Code>{CODES[order.status]}</Code><Message>ordered</Message></Error>".encode()
            self._answer(order.status, [("Content-Type", "application/xml")], text, len(text))
            return
        if order is not None and order.fault == "drop":
            self.close_connection = True
            return
        if order is not None and order.fault == "delay":
            time.sleep(order.seconds)
        try:
            status, headers, answer, length = self._forward(body)
        except (OSError, HTTPException):  # the server is down: so is the connection
            self.close_connection = True
            return
        if order is not None and order.fault == "drop-answer":
            self.close_connection = True
            return
        if order is not None and order.fault == "truncate":
            answer = answer[: len(answer) // 2]
            self.close_connection = True
        self._answer(status, headers, answer, length)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers, up to the empty line
            continue
        return b"".join(parts)

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes, int]:
        connection = HTTPConnection(self.proxy.upstream, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP | {"content-length"}:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            data = answer.read()
            length = int(answer.headers.get("Content-Length") or len(data))  # of a HEAD: that of the object
            return answer.status, answer.getheaders(), data, length
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, length: int) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: tests count what was met."""
