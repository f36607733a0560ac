"""A bar in a log is lines."""

import io

import pytest
from tqdm import tqdm

from inranker import bars
from inranker.bars import LinesOfBar


def test_a_bar_is_a_line_every_ten_seconds_and_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(bars.time, "monotonic", lambda: now[0])
    log = io.StringIO()
    bar = tqdm(total=100, desc="label", file=LinesOfBar(log), mininterval=0, miniters=1)
    for _ in range(50):
        now[0] += 0.5
        bar.update(2)
    bar.close()
    lines = log.getvalue().splitlines()
    assert "\r" not in log.getvalue() and all(line.startswith("label: ") for line in lines)
    assert [line.split("|")[0].split()[1] for line in lines] == ["0%", "40%", "80%", "100%"]


def test_a_terminal_gets_the_bar_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(bars.sys, "stderr", terminal)
    assert bars.bar_stream() is terminal
