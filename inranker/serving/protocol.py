"""uvicorn's HTTP protocol with patience of its own: for slow headers, endless headers and unread answers.

uvicorn waits without limit for a request's headers, and for a client that does not read: a few hundred such clients
would hold every connection. Bodies are the guard's matter. On Ray Serve, `proxy_callback` puts the same protocol into
the proxies.
"""

import asyncio
import os
from typing import Any

import orjson
import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from inranker.serving.config import Limits

HEADER_BYTES = 64 << 10
REASONS = {408: "Request Timeout", 431: "Request Header Fields Too Large"}
# How Ray's proxies, which are started by name, are told other limits than the usual.
HEADER_SECONDS = "INRANKER_SERVE_HEADER_SECONDS"
WRITE_SECONDS = "INRANKER_SERVE_WRITE_SECONDS"
# A connection that is open when the server ends may have its first request on the way; it is awaited so long.
LAST_REQUEST_SECONDS = 1.0


class GuardedProtocol(HttpToolsProtocol):
    """A connection whose client must send headers and read answers in time.

    Args:
        args, options: what uvicorn gives a protocol.
        limits: how long; None reads the environment.
    """

    def __init__(self, *args: Any, limits: Limits | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        limits = limits or limits_of_environment()
        self._header_seconds = limits.header_seconds
        self._write_seconds = limits.write_seconds
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._last_request_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The first request's headers are awaited from now on."""
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._stop(self._header_timer)
        self._stop(self._write_timer)
        self._stop(self._last_request_timer)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request has begun, perhaps on a connection kept alive."""
        if self._header_timer is None:
            self._await_headers()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers came in time."""
        self._stop(self._header_timer)
        self._header_timer, self._header_bytes = None, 0
        super().on_headers_complete()
        if self._last_request_timer is not None:
            self._stop(self._last_request_timer)
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """The server ends: what was asked is answered, and what a new client is about to ask is waited for.

        uvicorn would close a connection that has not asked yet, and with it lose a request that is on its way.
        """
        if self.cycle is None:
            self._last_request_timer = self.loop.call_later(LAST_REQUEST_SECONDS, self.transport.close)
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client; a head beyond a size is not waited for."""
        super().data_received(data)
        if self._header_timer is None:
            return
        self._header_bytes += len(data)
        if self._header_bytes > HEADER_BYTES:
            self._refuse(431, f"the headers are larger than {HEADER_BYTES} bytes; send fewer")

    def pause_writing(self) -> None:
        """The client reads more slowly than the answer is written."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self._write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._stop(self._write_timer)
        self._write_timer = None
        super().resume_writing()

    def _await_headers(self) -> None:
        sentence = f"the headers took longer than {self._header_seconds:g} seconds; send them faster"
        self._header_timer = self.loop.call_later(self._header_seconds, self._refuse, 408, sentence)

    def _refuse(self, status: int, sentence: str) -> None:
        if self.transport.is_closing():
            return
        body = orjson.dumps({"message": sentence, "detail": sentence, "error": sentence})
        head = (
            f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


def limits_of_environment() -> Limits:
    """The usual limits, but for the two that the environment may set."""
    header, write = os.environ.get(HEADER_SECONDS), os.environ.get(WRITE_SECONDS)
    return Limits(
        header_seconds=float(header or Limits.header_seconds), write_seconds=float(write or Limits.write_seconds)
    )


def proxy_callback() -> list[Any]:
    """Called by name in each of Ray Serve's proxies before it listens: RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH.

    A proxy starts uvicorn with the protocol that is registered as `auto`; from now on that is the guarded one.
    """
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{GuardedProtocol.__name__}"
    return []
