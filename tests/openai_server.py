"""A server on loopback that speaks OpenAI's API, in every way that a real one has been seen to fail.

It keeps its own books: what each prompt was asked how often, what it charged, how many requests it worked on at a time.
"""

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test-0123456789abcdef"
Fault = Callable[[str, int], str | None]
"""(prompt, how often it was asked before) -> the fault of this request, None for a proper answer."""


class OpenAIServer:
    """A server in this process; a context manager.

    Args:
        fault: which request fails how: `429`, `429-date`, `500`, `503`, `hang`, `trickle`, `half` (a cut body that
            claims its full length), `no-json`, `no-choices`, `cut` (the connection, before an answer), `cut-late`
            (after the answer was charged), `400`, `401`, `404`, `quota`, `empty`.
        log_probs: whether it gives them.
        key: what it wants; None: nothing.
        delay: seconds that an answer takes.
    """

    def __init__(
        self, fault: Fault | None = None, log_probs: bool = True, delay: float = 0.0, key: str | None = KEY
    ) -> None:
        self.key = key
        self.fault, self.log_probs, self.delay = fault or (lambda prompt, asked: None), log_probs, delay
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.prompt_tokens = self.tokens = 0  # charged
        self.working = self.most_working = 0
        self.closing = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self) -> "OpenAIServer":
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        books = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                return

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if books.key is not None and self.headers["Authorization"] != f"Bearer {books.key}":
                    refused = self.headers["Authorization"].removeprefix("Bearer ")
                    return self.refuse(401, f"Incorrect API key provided: {refused}")
                with books.lock:
                    books.working += 1
                    books.most_working = max(books.most_working, books.working)
                try:
                    # A client that gave up has hung up.
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        self.answer(body, *books.note(body))
                finally:
                    with books.lock:
                        books.working -= 1

            def answer(self, body: dict[str, Any], prompt: str, fault: str | None) -> None:
                time.sleep(books.delay)
                if fault == "hang":
                    books.closing.wait(30)
                    self.close_connection = True
                elif fault == "cut":
                    self.close_connection = True
                elif fault in ("429", "429-date"):
                    rest = "0.2" if fault == "429" else time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
                    self.refuse(429, "slow down", {"Retry-After": rest})
                elif fault == "quota":
                    self.refuse(429, "insufficient_quota: you have spent it all")
                elif fault in ("400", "401", "404", "500", "503"):
                    self.refuse(int(fault), f"this fails: {self.headers['Authorization']}")
                else:
                    self.charged(books.charge(body, prompt, self.path, empty=fault == "empty"), fault)

            def charged(self, answer: dict[str, Any], fault: str | None) -> None:
                data = json.dumps(answer).encode()
                if fault == "cut-late":
                    self.close_connection = True
                    return
                if fault == "no-json":
                    data = data[: len(data) // 2]
                if fault == "no-choices":
                    data = json.dumps({"object": "chat.completion", "usage": answer["usage"]}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if fault == "half":
                    self.close_connection = True
                    data = data[: len(data) // 2]
                if fault == "trickle":
                    while not books.closing.wait(0.05):
                        self.wfile.write(b" ")
                        self.wfile.flush()
                self.wfile.write(data)

            def refuse(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
                data = json.dumps({"error": {"message": message, "type": "error"}}).encode()
                self.send_response(status)
                for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

        return Handler

    def note(self, body: dict[str, Any]) -> tuple[str, str | None]:
        """Book a request; its prompt and its fault."""
        prompt = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        with self.lock:
            fault = self.fault(prompt, self.asked[prompt])
            self.asked[prompt] += 1
            self.bodies.append(body)
            self.times.append(time.monotonic())
            if fault:
                self.faults[fault] += 1
        return prompt, fault

    def charge(self, body: dict[str, Any], prompt: str, path: str, empty: bool) -> dict[str, Any]:
        """Make an answer, and charge for it."""
        text = "" if empty else answer_to(prompt)
        words = text.split()[: body.get("max_tokens", 99)]
        given = [{"token": word, "logprob": -0.25 * place} for place, word in enumerate(words)]
        asked_for = self.log_probs and bool(body.get("logprobs"))
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "logprobs": None}
        if path.endswith("/chat/completions"):
            choice |= {"message": {"role": "assistant", "content": text}}
            choice |= {"logprobs": {"content": given}} if asked_for else {}
        else:
            choice |= {"text": text}
            choice |= {"logprobs": {"token_logprobs": [token["logprob"] for token in given]}} if asked_for else {}
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(words)}
        with self.lock:
            self.answered[prompt] += 1
            self.prompt_tokens += usage["prompt_tokens"]
            self.tokens += usage["completion_tokens"]
        usage["total_tokens"] = sum(usage.values())
        return {"id": "x", "object": "chat.completion", "model": body["model"], "choices": [choice], "usage": usage}


def answer_to(prompt: str) -> str:
    """The text that the server writes: a function of the prompt, so that a test can tell answers apart."""
    return f"what is {' '.join(prompt.split()[-2:])}"
