"""A real server on a port of its own, in this process, for tests and benchmarks."""

import threading
import time
from types import TracebackType
from typing import Any, Self

from inranker.serving.app import build_app
from inranker.serving.config import ServeConfig
from inranker.serving.local import listen, make_server
from inranker.serving.service import Service, load

SECONDS = 60


class LocalServer:
    """The local engine on a thread; leaving it shuts it down as SIGTERM would."""

    def __init__(self, config: ServeConfig, service: Service | None = None) -> None:
        self.config = config
        self.service = service or load(config)
        self.listening = listen(config.host, config.port)
        self.port = self.listening.getsockname()[1]
        self.url = f"http://{config.host}:{self.port}"
        self.server = make_server(build_app(self.service), config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listening]}, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        ends = time.monotonic() + SECONDS
        while not self.server.started:
            if time.monotonic() > ends or not self.thread.is_alive():
                raise RuntimeError("the server did not start")
            time.sleep(0.01)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        self.thread.join(SECONDS)
        self.service.close()

    def stop(self) -> None:
        """Ask it to end, as a signal does."""
        self.server.should_exit = True


def rerank_body(query: str, documents: list[Any], **more: Any) -> dict[str, Any]:
    """A request of /v1/rerank."""
    return {"query": query, "documents": documents, **more}
