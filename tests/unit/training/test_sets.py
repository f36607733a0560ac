"""Several sets of labels in one phase, and labels made on one text while training is on another."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from inranker.errors import UserError
from inranker.manifest import MANIFEST, Manifest, read_manifest, to_json
from inranker.rerankers import load_encoder
from inranker.training.check import require_gradient
from inranker.training.config import TrainIdentity
from inranker.training.custody import find_source, iter_rows
from inranker.training.job import Place, order_rules, prepare_data
from inranker.training.order import Order
from tests.builders import make_pairs, pair_rows
from tests.unit.training.labels import make_labels


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> list[str]:
    """Two sets of labels; both have a query q0, which is not the same one."""
    folder = tmp_path_factory.mktemp("sets")
    found = []
    for number, count in enumerate((40, 25)):
        rows = [{**row, "query": f"{row['query']} {number}"} for row in pair_rows(count, seed=number)]
        pairs = make_pairs(folder / f"pairs-{number}", rows, shard_rows=15)
        found.append(str(make_labels(folder / f"labels-{number}", pairs, scale=1 + number)))
    return found


def told(**fields) -> TrainIdentity:
    return TrainIdentity(start="unused", steps=1, **fields)


def read(identity: TrainIdentity, student: Path, cache: Path):
    return prepare_data(find_source(identity), load_encoder(student), cache, Place())


def test_sets_follow_each_other_and_their_queries_stay_apart(sets, teacher, tmp_path):
    data = read(told(labels=sets), teacher, tmp_path)
    assert len(data) == 65 and data.about["queries"] == 4 + 3
    assert data.groups[[0, 39, 40, 64]].tolist() == [0, 3, 4, 6]
    assert data.teacher[[1, 41], 0].tolist() == [1.0, 2.0]
    turned = read(told(labels=sets[::-1]), teacher, tmp_path)
    assert turned.teacher[1, 0] == 2.0 and turned.groups[25] == 3


def test_the_order_over_all_sets_is_a_function_of_the_seed(sets, teacher, tmp_path):
    identity = told(labels=sets, batch_size=10, loss="listwise_kl")
    data = read(identity, teacher, tmp_path)
    one, two = (Order(order_rules(identity), data.lengths, data.positive, data.groups) for _ in range(2))
    batches = [one.batch(step).tolist() for step in range(one.steps_per_epoch)]
    assert batches == [two.batch(step).tolist() for step in range(two.steps_per_epoch)]
    assert sorted(row for batch in batches for row in batch) == list(range(65))
    for batch in batches:  # a query of its own in each, of whichever set
        assert len(np.unique(data.groups[batch])) == 1


def test_every_set_has_its_own_chain_of_custody(sets):
    source = find_source(told(labels=sets))
    assert list(source.inputs) == ["labels_1", "pairs_1", "labels_2", "pairs_2"]
    for number, url in enumerate(sets, start=1):
        assert source.inputs[f"labels_{number}"]["content_hash"] == read_manifest(url).content_hash
        assert source.inputs[f"pairs_{number}"]["path"].endswith(f"pairs-{number - 1}")
    assert find_source(told(labels=sets[::-1])).content != source.content
    assert find_source(told(labels=[sets[0]])).content == find_source(told(labels=sets[0])).content


def test_a_set_is_named_once(sets):
    with pytest.raises(UserError, match=r"labels-0 has the content of .*labels-0; name it once"):
        find_source(told(labels=[sets[0], sets[1], sets[0]]))


def with_collection(pairs: Path, name: str, split: str) -> str:
    manifest = read_manifest(str(pairs))
    link = {"collection": {"name": name, "split": split}}
    (pairs / MANIFEST).write_bytes(to_json(dataclasses.replace(manifest, inputs=link)))
    assert isinstance(read_manifest(str(pairs)), Manifest)
    return str(pairs)


@pytest.mark.parametrize(("name", "split"), [("beir/scifact", "test"), ("beir/nq", "nq")])
def test_test_queries_are_trained_on_only_where_that_is_said(name, split, tmp_path):
    train = with_collection(make_pairs(tmp_path / "train", pair_rows(20)), name, "train")
    test = with_collection(make_pairs(tmp_path / "test", pair_rows(30)), name, split)
    with pytest.raises(UserError, match=f"split '{split}' of {name}.*set trains_on_test to true"):
        find_source(told(pairs=[train, test]))
    assert find_source(told(pairs=[train, test], trains_on_test=True)).inputs["pairs_2"]["path"] == test
    with pytest.raises(UserError, match="no pairs are of a test split; leave it out"):
        find_source(told(pairs=train, trains_on_test=True))


def test_extra_ids_of_the_other_text_are_listed(sets, teacher, tmp_path):
    rows = [{**row, "query": "busca", "passage": f"texto {row['passage_id']}"} for row in pair_rows(43)]
    other = make_pairs(tmp_path / "pt", rows[::-1], shard_rows=20)
    data = read(told(labels=sets[0], text_from=str(other)), teacher, tmp_path / "cache")
    assert data.about["alignment"] == {
        "labelled": 40,
        "in_text_from": 43,
        "missing": 0,
        "missing_ids": [],
        "extra": 3,
        "extra_ids": [["q4", "p42"], ["q4", "p41"], ["q4", "p40"]],
    }


def test_missing_ids_are_listed_with_the_extra_ones(sets, tmp_path):
    rows = [{**row, "passage_id": row["passage_id"].replace("p3", "x3")} for row in pair_rows(40)]
    other = make_pairs(tmp_path / "pt", rows)
    with pytest.raises(UserError, match=r"lacks 11 .*\(q0, p3\), \(q3, p30\).*has 11 that nobody.*\(q0, x3\)"):
        list(iter_rows(find_source(told(labels=sets[0], text_from=str(other)))))


@pytest.mark.parametrize(("dropout", "refused"), [(0.0, True), (0.1, False)])
def test_a_student_that_is_its_own_teacher_needs_dropout(dropout, refused, sets, tmp_path):
    labels = tmp_path / "labels"
    shutil.copytree(sets[0], labels)
    manifest = read_manifest(str(labels))
    own = dataclasses.replace(manifest, identity={"scorer": {"weights_sha256": "w"}})
    (labels / MANIFEST).write_bytes(to_json(own))
    identity = told(labels=str(labels), dropout=dropout)
    require_gradient(identity, {"weights_sha256": "another"})
    if not refused:
        require_gradient(identity, {"weights_sha256": "w"})
        return
    with pytest.raises(UserError, match="nothing about ranking can be learnt"):
        require_gradient(identity, {"weights_sha256": "w"})
