"""One creator wins, whatever the store; what is there is whole."""

import os
import pickle
import threading
import uuid
from pathlib import Path

import pytest

from inranker.errors import UserError
from inranker.storage import Store


@pytest.fixture(params=["path", "file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    urls = {"path": str(tmp_path / "s"), "file": f"file://{tmp_path}/s", "memory": f"memory://{uuid.uuid4().hex}/s"}
    return Store(urls[request.param])


def test_objects_come_back_and_are_listed(store: Store) -> None:
    assert store.list("") == [] and not store.exists("a/b")
    store.write("a/b", b"1")
    store.write("a/c/d", b"2")
    store.write("e", b"3")
    assert store.list("") == ["a/b", "a/c/d", "e"]
    assert store.list("a") == ["a/b", "a/c/d"]
    assert store.read_many(["e", "a/b"]) == [b"3", b"1"]
    assert (store.read("a/c/d"), store.open("e").read()) == (b"2", b"3")
    store.delete("e")
    store.delete("e")
    assert not store.exists("e")
    with pytest.raises(FileNotFoundError):
        store.read("e")


def test_an_object_to_look_at_is_replaced_whole(store: Store) -> None:
    store.replace("progress.json", b"1")
    store.replace("progress.json", b"22")
    assert (store.read("progress.json"), store.list("")) == (b"22", ["progress.json"])


def test_one_of_many_racing_creators_wins(store: Store) -> None:
    start = threading.Barrier(16)
    won: list[int] = []

    def create(number: int) -> None:
        start.wait()
        if store.put_if_absent("receipt", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.read("receipt") == str(won[0]).encode()
    assert store.list("") == ["receipt"]  # no temporary file is left


def test_a_refusal_by_ones_own_object_is_no_loss(store: Store) -> None:
    assert store.put_if_absent("receipt", b"key-1")
    assert store.put_if_absent("receipt", b"key-1")
    assert not store.put_if_absent("receipt", b"key-2")


def test_a_failed_local_create_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    store = Store(str(tmp_path / "s"))
    for write in (store.put_if_absent, store.write):
        with pytest.raises(UserError, match=r"no space left at .* free some"):
            write("receipt", b"1")
    assert [path for path in (tmp_path / "s").rglob("*") if path.is_file()] == []


def test_what_a_killed_creator_leaves_is_no_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(source: object, target: object) -> None:
        raise SystemExit("killed between writing and linking")

    store = Store(str(tmp_path / "s"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "link", killed)
        patched.setattr(Path, "unlink", lambda self, missing_ok: None)
        with pytest.raises(SystemExit):
            store.put_if_absent("identity.json", b"1")
    assert list((tmp_path / "s").iterdir())  # the temporary file is there …
    assert store.list("") == []  # … and is nobody's object
    assert store.put_if_absent("identity.json", b"2")
    assert store.list("") == ["identity.json"]


def test_a_store_travels_to_other_processes(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write("a", b"1")
    assert pickle.loads(pickle.dumps(store)).read("a") == b"1"


def test_a_file_or_an_unknown_protocol_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        Store(str(tmp_path / "f"))
    with pytest.raises(UserError, match="nosuch"):
        Store("nosuch://x")
