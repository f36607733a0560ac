"""Where progress bars are drawn: over themselves on a terminal, as a line now and then in a log."""

import sys
import time
from typing import IO

LINE_SECONDS = 10.0


def bar_stream() -> "IO[str] | LinesOfBar":
    """`file` of a tqdm bar: stderr, of which a log file (of `ray job logs`, of a pod) gets whole lines."""
    return sys.stderr if sys.stderr.isatty() else LinesOfBar(sys.stderr)


class LinesOfBar:
    """What a bar draws over itself, several times a second, as lines: the first, one every ten seconds, the last."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.drawn = self.written = ""
        self.told = float("-inf")

    def write(self, text: str) -> int:
        """Take what tqdm draws; a line break closes the bar."""
        drawn = text.strip("\r\n ")
        self.drawn = drawn or self.drawn
        closing = text.endswith("\n") and self.drawn != self.written
        if closing or (drawn and time.monotonic() - self.told >= LINE_SECONDS):
            self.told, self.written = time.monotonic(), self.drawn
            self.stream.write(f"{self.drawn}\n")
            self.stream.flush()
        return len(text)

    def flush(self) -> None:
        """Lines are flushed as they are written."""
