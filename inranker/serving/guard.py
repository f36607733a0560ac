"""What stands before the app: the token, the size and pace of bodies, headers of answers, and counting.

Plain ASGI. A body is read whole here, within its limits, before the app sees the request; what is refused is refused
before it is read.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from inranker.serving.config import Limits
from inranker.serving.metrics import Metrics
from inranker.serving.problems import Refused, problem

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
CLOSE = {"Connection": "close"}


class Guard:
    """An ASGI app around another.

    Args:
        app: what is guarded.
        limits: of bodies.
        metrics: where requests are counted.
        token: bearer token that `protected` asks for; None asks for none.
        protected: whether a path needs the token.
    """

    def __init__(
        self, app: App, limits: Limits, metrics: Metrics, token: str | None, protected: Callable[[str], bool]
    ) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics
        self._token = token.encode("utf-8", "surrogateescape") if token else None
        self._protected = protected
        self._in_flight = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in HEADERS if pair[0] not in present)]
            await send(message)

        self._add_in_flight(1)
        try:
            await self._answer(scope, receive, send_with_headers)
        finally:
            self._add_in_flight(-1)
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.add("requests", route=route, status=str(status or 500))
            self.metrics.add("request_seconds", time.perf_counter() - start, route=route)

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        try:
            headers = {name.lower(): value for name, value in scope["headers"]}
            self._require_token(scope["path"], headers)
            body = await self._read(headers, receive)
            await self.app(scope, _replay(body, receive), send)
        except Refused as refused:
            response = problem(refused.status_code, refused.detail, refused.headers)
            await response(scope, receive, send)
        except Exception:
            # The app has answered 500 already, and raises once more for whoever keeps the log.
            log.exception("%s %s failed", scope["method"], scope["path"])

    def _require_token(self, path: str, headers: dict[bytes, bytes]) -> None:
        if self._token is None or not self._protected(path):
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
            sentence = "the token is missing or wrong; send the header Authorization: Bearer TOKEN"
            raise Refused(401, sentence, {"WWW-Authenticate": "Bearer", **CLOSE})

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The request's body.

        Raises:
            Refused: too large, too slow, encoded, or cut short.
        """
        length = headers.get(b"content-length", b"")
        if not length and b"transfer-encoding" not in headers:
            return b""
        if length.isdigit() and int(length) > self.limits.body_bytes:
            raise self._too_large()
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Refused(415, "the body has a Content-Encoding; send it plain", CLOSE)
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                return await self._gather(receive)
        except TimeoutError:
            sentence = f"the body took longer than {self.limits.body_seconds:g} seconds; send it faster"
            raise Refused(408, sentence, CLOSE) from None

    async def _gather(self, receive: Receive) -> bytes:
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "the connection closed before the body's end", CLOSE)
            part = message.get("body", b"")
            size += len(part)
            if size > self.limits.body_bytes:
                raise self._too_large()
            parts.append(part)
            more = message.get("more_body", False)
        return b"".join(parts)

    def _too_large(self) -> Refused:
        return Refused(413, f"the body is larger than {self.limits.body_bytes} bytes; send less at a time", CLOSE)

    def _add_in_flight(self, change: int) -> None:
        self._in_flight += change
        self.metrics.add("requests_in_flight", self._in_flight)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body first."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
