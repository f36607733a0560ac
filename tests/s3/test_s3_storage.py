"""The storage contract on a real S3 server, its restarts included, and on another make of server."""

import threading
import time

import pytest

from inranker.errors import UserError
from inranker.probe import require_exclusive_create
from inranker.storage import Store
from tests.s3_server import SECRET_KEY, S3Server


def test_objects_come_back_and_are_listed(any_s3_url: str) -> None:
    store = Store(any_s3_url)
    assert store.list("") == [] and not store.exists("a/b")
    store.write("a/b", b"1")
    assert store.list("") == ["a/b"]
    store.write("a/c/d", b"2" * 9_000_000)  # more than one part of a multipart upload
    assert store.list("a") == ["a/b", "a/c/d"]  # no stale listing
    assert store.read("a/b") == b"1" and len(store.read("a/c/d")) == 9_000_000
    store.delete("a/b")
    store.delete("a/b")
    assert not store.exists("a/b")
    with pytest.raises(FileNotFoundError):
        store.read("a/b")


def test_many_objects_come_back_in_the_order_asked_for(s3_url: str) -> None:
    store = Store(s3_url)
    for number in range(7):
        store.write(f"receipts/{number}", b"%d" % number)
    assert store.read_many([f"receipts/{number}" for number in (5, 0, 3)]) == [b"5", b"0", b"3"]
    assert (store.read_many(["receipts/6"]), store.read_many([])) == ([b"6"], [])
    with pytest.raises(FileNotFoundError):
        store.read_many(["receipts/1", "receipts/7"])


def test_one_of_many_racing_creators_wins(any_s3_url: str) -> None:
    start = threading.Barrier(8)
    won: list[int] = []

    def create(number: int) -> None:
        store = Store(any_s3_url)
        start.wait()
        if store.put_if_absent("receipt", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert Store(any_s3_url).read("receipt") == str(won[0]).encode()


def test_a_refusal_by_ones_own_object_is_no_loss(any_s3_url: str) -> None:
    store = Store(any_s3_url)
    assert store.put_if_absent("receipt", b"key-1")
    assert store.put_if_absent("receipt", b"key-1")
    assert not store.put_if_absent("receipt", b"key-2")


def test_the_probe_accepts_it(any_s3_url: str) -> None:
    require_exclusive_create(Store(any_s3_url))
    assert Store(any_s3_url).list("") == []


def test_a_server_that_comes_back_costs_nothing(s3_server: S3Server, s3_url: str) -> None:
    store = Store(s3_url)
    store.write("before", b"1")
    s3_server.kill()
    restart = threading.Timer(3, s3_server.start)
    restart.start()
    started = time.monotonic()
    try:
        assert store.put_if_absent("receipt", b"2")
    finally:
        restart.join()
    assert time.monotonic() - started > 2
    assert (store.read("before"), store.read("receipt")) == (b"1", b"2")


def test_secrets_stay_out_of_errors(s3_server: S3Server) -> None:
    with pytest.raises(UserError) as caught:
        Store(f"s3://key:{SECRET_KEY}@bucket/x")
    assert SECRET_KEY not in str(caught.value)
    with pytest.raises(FileNotFoundError) as missing:
        Store("s3://no-such-bucket-here/x").read("y")
    assert SECRET_KEY not in str(missing.value)
