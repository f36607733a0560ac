"""A real headless Chromium, spoken to over the DevTools protocol on a pair of pipes: no driver, no port, no package."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --remote-debugging-pipe"
).split()
SECONDS = 60
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "Space": (32, " "), "ArrowDown": (40, "")}
FIRST_FREE = 10  # descriptors above those that the browser speaks on (3 and 4)


def find_browser() -> str | None:
    """The browser's path; None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """A browser process of the test's own."""

    def __init__(self, path: str) -> None:
        self.path, self.called = path, 0
        self.events: list[dict[str, Any]] = []
        self.unread = b""

    def __enter__(self) -> Self:
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        (theirs_in, self.to), (self.back, theirs_out) = os.pipe(), os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, FIRST_FREE) for end in (theirs_in, theirs_out)]

        def place_ends() -> None:
            for descriptor, end in zip((3, 4), ends, strict=True):
                os.dup2(end, descriptor)

        self.process = subprocess.Popen(
            [self.path, *FLAGS, f"--user-data-dir={self.profile.name}", "about:blank"],
            preexec_fn=place_ends,
            pass_fds=(3, 4),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (theirs_in, theirs_out, *ends):
            os.close(end)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.to)
        os.close(self.back)
        self.profile.cleanup()

    def open(self, page: Path | str, width: int, height: int, dark: bool = False) -> "Tab":
        """A file, or a URL, in a new tab of that size in CSS pixels, loaded to its end."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        tab = Tab(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        tab.call("Emulation.setDeviceMetricsOverride", shape)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tab.call("Emulation.setEmulatedMedia", {"features": [scheme]})
        tab.call("Page.navigate", {"url": page if isinstance(page, str) else page.resolve().as_uri()})
        tab.wait_for("Page.loadEventFired")
        return tab

    def call(self, method: str, parameters: dict[str, Any] | None = None, session: str | None = None) -> dict[str, Any]:
        """A method's result; what arrives meanwhile goes to `events`."""
        self.called += 1
        message: dict[str, Any] = {"id": self.called, "method": method, "params": parameters or {}}
        if session is not None:
            message["sessionId"] = session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.called:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def receive(self) -> dict[str, Any]:
        """The next message."""
        ends = time.monotonic() + SECONDS
        while b"\0" not in self.unread:
            ready, _, _ = select.select([self.back], [], [], max(0.0, ends - time.monotonic()))
            part = os.read(self.back, 1 << 20) if ready else b""
            if not part:
                raise RuntimeError(f"{self.path} has ended, or said nothing for {SECONDS} seconds")
            self.unread += part
        message, _, self.unread = self.unread.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed


class Tab:
    """A tab of a browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser, self.session = browser, session

    def call(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """See `Browser.call`."""
        return self.browser.call(method, parameters, self.session)

    def wait_for(self, event: str) -> None:
        """Return once an event has come."""
        while not any(self.is_mine(message, event) for message in self.browser.events):
            self.browser.events.append(self.browser.receive())

    def is_mine(self, message: dict[str, Any], *events: str) -> bool:
        """Whether a message is one of these events of this tab."""
        return message.get("sessionId") == self.session and message.get("method") in events

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is in the page; the page's own security policy does not bind it."""
        result = self.call("Runtime.evaluate", {"expression": expression, "returnByValue": True})
        return result["result"].get("value")

    def until(self, expression: str) -> Any:
        """What a JavaScript expression is once it is true."""
        ends = time.monotonic() + SECONDS
        while not (value := self.value(expression)):
            if time.monotonic() > ends:
                raise RuntimeError(f"still not true after {SECONDS} seconds: {expression}")
            time.sleep(0.02)
        return value

    def type(self, text: str) -> None:
        """Text, as a keyboard would bring it to what has the focus."""
        self.call("Input.insertText", {"text": text})

    def press(self, key: str, modifiers: int = 0) -> None:
        """A key (Tab, Enter, Space, ArrowDown) pressed and let go; modifiers as DevTools counts them (8: shift)."""
        code, letter = KEYS[key]
        pressed: dict[str, Any] = {"key": letter or key, "code": key, "windowsVirtualKeyCode": code, "text": letter}
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", "modifiers": modifiers, **pressed})
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", "modifiers": modifiers, **pressed})

    def problems(self) -> list[str]:
        """What the browser complained about: uncaught errors, console errors, refused loads."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
        return [json.dumps(message["params"]) for message in self.browser.events if self.is_mine(message, *kinds)]

    def requests(self) -> list[str]:
        """URLs that the page asked for, itself among them."""
        sent = [message for message in self.browser.events if self.is_mine(message, "Network.requestWillBeSent")]
        return [message["params"]["request"]["url"] for message in sent]

    def screenshot(self, file: Path) -> None:
        """The whole page as PNG, as far down as it goes."""
        shot = self.call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        file.write_bytes(base64.b64decode(shot["data"]))
