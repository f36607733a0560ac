"""The local engine: uvicorn in this process, with the guarded protocol."""

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn

from inranker.errors import UserError
from inranker.serving.app import build_app
from inranker.serving.config import ServeConfig
from inranker.serving.protocol import GuardedProtocol
from inranker.serving.service import load


def serve_local(config: ServeConfig) -> dict[str, Any]:
    """Serve until SIGTERM or SIGINT; requests in flight finish first.

    Raises:
        UserError: the address is taken, or as `service.load`.
    """
    listening = listen(config.host, config.port)
    service = load(config)
    server = make_server(build_app(service), config)
    port = listening.getsockname()[1]
    print(f"serving {', '.join(service.engines)} at http://{config.host}:{port}", flush=True)
    try:
        asyncio.run(server.serve(sockets=[listening]))
    finally:
        service.close()
    return {"requests": server.server_state.total_requests}


class Server(uvicorn.Server):
    """uvicorn's server, which ends in its own time at a signal; uvicorn's would then raise the signal once more, and
    the process would die of it instead of reporting."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ask to end at SIGINT and SIGTERM, at a second SIGINT at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def make_server(app: Any, config: ServeConfig) -> Server:
    """uvicorn over an app, within the limits."""
    limits = config.limits
    protocol: Any = partial(GuardedProtocol, limits=limits)
    return Server(
        uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_keep_alive=75,
            limit_concurrency=limits.connections,
            timeout_graceful_shutdown=max(1, int(limits.shutdown_seconds)),
        )
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address.

    Raises:
        UserError: it is taken, not ours or unknown.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise UserError(
            f"cannot listen at {host}:{port} ({error.strerror}); choose another --port or --host"
        ) from error
    return listening
