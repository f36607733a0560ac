"""What an S3 server and the way to it may do wrong: error answers, cut and slow connections, half answers."""

import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inranker.storage
from inranker.labeling.read import read_labels
from inranker.labeling.verify import verify
from inranker.manifest import Shard
from inranker.patience import patiently
from inranker.storage import Store
from inranker.units import Receipt, commit, plan_units, put_object, read_receipt
from tests.fault_proxy import FaultProxy
from tests.unit.labeling.inprocess import label_here, label_job

UNIT = plan_units([Shard("pairs-00000.parquet", 3, "")], 3)[0]
PASSING: list[dict[str, Any]] = [
    {"fault": "refuse", "status": 409},
    {"fault": "refuse", "status": 500},
    {"fault": "refuse", "status": 503},
    {"fault": "drop"},
    {"fault": "drop-answer"},
    {"fault": "delay", "seconds": 1.0},
]


def receipt_for(store: Store, content: bytes) -> Receipt:
    return Receipt(UNIT.name, "f", UNIT.rows, put_object(store, "data", UNIT, UNIT.rows, content, ".bin"))


def test_without_orders_the_proxy_changes_nothing(proxy: FaultProxy, s3_url: str) -> None:
    store = Store(s3_url)
    large = bytes(range(256)) * 40_000  # more than one part of a multipart upload
    store.write("a/large", large)
    assert store.put_if_absent("b", b"1") and not store.put_if_absent("b", b"2")
    assert (store.read("a/large"), store.read("b"), store.list("")) == (large, b"1", ["a/large", "b"])


@pytest.mark.parametrize("order", PASSING, ids=lambda order: "-".join(str(value) for value in order.values()))
def test_a_fault_that_passes_costs_nothing(order: dict[str, Any], proxy: FaultProxy, s3_url: str) -> None:
    store = Store(s3_url)
    writing = proxy.order(method="PUT", **order)
    store.write("data", b"x")
    assert writing.met == 1
    creating = proxy.order(method="PUT", **order)
    assert store.put_if_absent("receipt", b"ours")
    assert creating.met == 1
    reading = proxy.order(method="GET", **order)
    assert store.read("data") == b"x"
    listing = proxy.order(method="GET", **order)
    assert store.list("") == ["data", "receipt"]
    assert (reading.met, listing.met) == (1, 1)


def test_a_connection_cut_right_after_the_receipt_was_stored_is_no_loss(proxy: FaultProxy, s3_url: str) -> None:
    """The client asks again and is refused by its own receipt; taking that for a loss would drop the unit's data."""
    store = Store(s3_url)
    receipt = receipt_for(store, b"ours")
    cut = proxy.order("drop-answer", "PUT", "receipts/")
    assert commit(store, UNIT, receipt)
    assert cut.met == 1
    assert read_receipt(store, UNIT.name) == receipt
    assert store.read(receipt.data.name) == b"ours"


def test_a_cut_connection_does_not_make_a_loser_win(proxy: FaultProxy, s3_url: str) -> None:
    store = Store(s3_url)
    first, second = receipt_for(store, b"first"), receipt_for(store, b"second")
    assert commit(store, UNIT, first)
    cuts = [proxy.order("drop-answer", "PUT", "receipts/"), proxy.order("drop", "GET", "receipts/")]
    assert not commit(store, UNIT, second)
    assert [cut.met for cut in cuts] == [1, 1]
    assert read_receipt(store, UNIT.name) == first
    assert store.list("data") == [first.data.name]


def test_half_an_answer_is_never_taken_for_the_object(
    proxy: FaultProxy, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(s3_url)
    content = b"0123456789" * 1000
    store.write("data", content)
    once = proxy.order("truncate", "GET", "data")
    assert store.read("data") == content
    assert once.met == 1
    monkeypatch.setattr(inranker.storage, "patiently", partial(patiently, seconds=0.0))
    always = proxy.order("truncate", "GET", "data", times=float("inf"))
    with pytest.raises(Exception, match=r"(?i)payload|incomplete|closed|premature"):
        store.read("data")
    assert always.met > 1


@pytest.mark.slow
def test_a_store_that_answers_503_for_half_a_minute_costs_nothing(proxy: FaultProxy, s3_url: str) -> None:
    store, seconds = Store(s3_url), 35.0
    outage = proxy.order("refuse", "*", times=float("inf"), status=503)
    threading.Timer(seconds, proxy.orders.remove, [outage]).start()
    started = time.monotonic()
    assert store.put_if_absent("receipt", b"ours")
    assert time.monotonic() - started >= seconds
    assert outage.met > 5 and store.read("receipt") == b"ours"


@pytest.mark.slow
def test_a_job_through_every_fault_gives_the_undisturbed_labels(
    proxy: FaultProxy, s3_url: str, repository: Path, pairs: Path, teacher: Path, tmp_path: Path
) -> None:
    """A job of its own, born with the proxy's address; faults of each kind on data, receipts, manifest and reading."""
    undisturbed = label_job(pairs, teacher, tmp_path / "undisturbed")
    label_here(undisturbed)
    orders = [
        proxy.order(method=method, part=part, **order)
        for order in [*PASSING, {"fault": "truncate"}]
        for method, part in (("PUT", "/data/"), ("PUT", "/receipts/"), ("GET", "/identity.json"))
        if (order["fault"], method) != ("truncate", "PUT")
    ]
    orders.append(proxy.order("drop-answer", "PUT", "/manifest.json"))
    command = [sys.executable, str(repository / "pipelines" / "label.py"), "--output", s3_url]
    command += ["--pairs", str(pairs), "--teacher", str(teacher), "--unit_rows", "20", "--threads", "1"]
    done = subprocess.run([*command, "--progress", "false"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [order for order in orders if not order.met] == []
    expected, found = read_labels(undisturbed.output), read_labels(s3_url)
    for name in ("shard", "row", "query_id", "passage_id"):
        assert found[name] == expected[name]
    for name in ("false_logit", "true_logit"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    config = label_job(pairs, teacher, s3_url, unit_rows=20)
    assert verify(config)["problems"] == []
