"""A store that lets two creators win is found out; those that the project runs on pass and keep nothing."""

import time
import uuid
from pathlib import Path

import pytest

from inranker.errors import UserError
from inranker.probe import require_exclusive_create
from inranker.storage import Store


class ChecksThenWrites(Store):
    """Asks whether the object is there, then writes: what `put_if_absent` must not be."""

    def put_if_absent(self, name: str, data: bytes) -> bool:
        if self.exists(name):
            return False
        time.sleep(0.005)  # the way to a server and back
        self.write(name, data)
        return True


class IgnoresTheCondition(Store):
    """Takes every create for a plain write."""

    def put_if_absent(self, name: str, data: bytes) -> bool:
        self.write(name, data)
        return True


class WinnerIsNotKept(Store):
    """Says that the first wins and keeps the last."""

    def put_if_absent(self, name: str, data: bytes) -> bool:
        won = super().put_if_absent(name, data)
        self.write(name, data)
        return won


@pytest.mark.parametrize("kind", [ChecksThenWrites, IgnoresTheCondition, WinnerIsNotKept])
def test_a_store_without_exclusive_create_is_refused(kind: type[Store], tmp_path: Path) -> None:
    store = kind(str(tmp_path / "out"))
    with pytest.raises(UserError, match="use a store that creates objects exclusively"):
        require_exclusive_create(store)
    assert store.list("") == []


@pytest.mark.parametrize("protocol", ["file", "memory"])
def test_local_disk_and_memory_pass_and_keep_nothing(protocol: str, tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/out" if protocol == "file" else f"memory://{uuid.uuid4().hex}/out")
    require_exclusive_create(store)
    assert store.list("") == []


def test_the_probe_takes_moments(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "out"))
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        require_exclusive_create(store)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.3
