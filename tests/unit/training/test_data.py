"""Training data on disk: joined, tokenised once, checked against its manifests."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from inranker.errors import UserError
from inranker.rerankers import load_encoder
from inranker.training.config import TrainIdentity
from inranker.training.custody import find_source, iter_rows
from inranker.training.data import TrainingData, write
from inranker.training.job import Place, prepare_data
from inranker.training.once import make_once
from tests.builders import make_pairs, make_t5, make_tokenizer, pair_rows
from tests.unit.training.labels import make_labels


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    return make_t5(folder / "model", make_tokenizer(folder / "tokenizer"))


@pytest.fixture
def pairs(tmp_path):
    return make_pairs(tmp_path / "pairs", pair_rows(60), shard_rows=25)


@pytest.fixture
def labels(tmp_path, pairs):
    return make_labels(tmp_path / "labels", pairs, quarantined=3)


def identity(**fields) -> TrainIdentity:
    return TrainIdentity(start="unused", steps=1, **{name: str(value) for name, value in fields.items()})


def test_batches_are_the_encoders_tokens_with_their_targets(labels, student, tmp_path):
    encoder = load_encoder(student)
    data = prepare_data(find_source(identity(labels=labels)), encoder, tmp_path / "cache", Place())
    assert len(data) == 57
    rows = np.array([31, 0, 55])
    batch = data.batch(rows)
    texts = pair_rows(60)
    encoded = encoder.encode([texts[r]["query"] for r in rows], [texts[r]["passage"] for r in rows])
    assert batch.input_ids_BL.shape == (3, encoded.lengths.max())
    for place in range(3):
        tokens = encoded.take([place]).token_ids
        assert batch.input_ids_BL[place, : len(tokens)].tolist() == tokens.tolist()
        assert batch.mask_BL[place].sum() == len(tokens)
        assert (batch.input_ids_BL[place, len(tokens) :] == encoder.pad_id).all()
    assert batch.targets.teacher_logits_B2.tolist() == [[31.0, -31.0], [0.0, 0.0], [55.0, -55.0]]
    assert batch.targets.labels_B.tolist() == [0, 1, 0]
    assert batch.targets.groups_B.tolist() == [3, 0, 5]


def test_hard_labels_come_from_the_pairs_alone(pairs, student, tmp_path):
    data = prepare_data(find_source(identity(pairs=pairs)), load_encoder(student), tmp_path / "cache", Place())
    assert len(data) == 60 and data.teacher is None
    assert data.positive.sum() == 6


def test_data_is_made_once_and_again_only_for_other_content(labels, pairs, student, tmp_path):
    encoder, cache = load_encoder(student), tmp_path / "cache"
    source = find_source(identity(labels=labels))
    prepare_data(source, encoder, cache, Place())
    (place,) = cache.iterdir()
    before = place.stat().st_mtime_ns
    prepare_data(source, encoder, cache, Place())
    assert [p.stat().st_mtime_ns for p in cache.iterdir()] == [before]
    prepare_data(source, load_encoder(student, max_length=16), cache, Place())
    prepare_data(find_source(identity(pairs=pairs)), encoder, cache, Place())
    assert len(list(cache.iterdir())) == 3


def test_only_the_maker_of_a_node_makes(tmp_path):
    assert make_once(tmp_path / "x", pytest.fail, maker=False) == tmp_path / "x"
    make_once(tmp_path / "x", lambda place: (place / "file").touch(), maker=True)
    make_once(tmp_path / "x", pytest.fail, maker=True)
    assert (tmp_path / "x" / "file").exists()


def test_a_maker_that_fails_leaves_nothing(tmp_path):
    def fail(place: Path) -> None:
        (place / "half").touch()
        raise UserError("no")

    with pytest.raises(UserError):
        make_once(tmp_path / "x", fail, maker=True)
    assert list(tmp_path.iterdir()) == []


def test_counts_that_do_not_add_up_stop_the_job(pairs, tmp_path):
    with pytest.raises(UserError, match="does not add up"):
        find_source(identity(labels=make_labels(tmp_path / "labels", pairs, quarantined=3, claimed=59)))


def test_another_pairs_set_under_the_labels_stops_the_job(labels, pairs, tmp_path):
    import shutil

    shutil.rmtree(pairs)
    make_pairs(pairs, pair_rows(60, seed=9), shard_rows=25)
    with pytest.raises(UserError, match="are not those that"):
        find_source(identity(labels=labels))


def test_a_damaged_pairs_shard_stops_the_job(labels, pairs, student, tmp_path):
    shard = pairs / "pairs-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"pairs-00001.parquet differs"):
        prepare_data(find_source(identity(labels=labels)), load_encoder(student), tmp_path / "cache", Place())


def test_inputs_are_named_once_and_rightly(labels, pairs):
    with pytest.raises(UserError, match="either `labels`"):
        find_source(identity())
    with pytest.raises(UserError, match="either `labels`"):
        find_source(identity(labels=labels, pairs=pairs))
    with pytest.raises(UserError, match="holds labels, not pairs"):
        find_source(identity(pairs=labels))
    with pytest.raises(UserError, match="`text_from` gives another text"):
        find_source(identity(pairs=pairs, text_from=pairs))


def test_text_from_gives_the_labels_another_text(labels, tmp_path):
    translated = [{**row, "query": "busca", "passage": f"texto {row['passage_id']}"} for row in pair_rows(60)]
    other = make_pairs(tmp_path / "translated", translated[::-1], shard_rows=40)
    (table, *_) = iter_rows(find_source(identity(labels=labels, text_from=other)))
    assert table["query"].to_pylist() == ["busca"] * 25
    assert table["passage"].to_pylist() == [f"texto p{number}" for number in range(25)]
    assert table["true_logit"].to_pylist() == [-float(row) for row in range(25)]


def test_text_from_must_hold_every_labelled_pair(labels, tmp_path):
    other = make_pairs(tmp_path / "translated", pair_rows(50), shard_rows=40)
    with pytest.raises(UserError, match=r"lacks 7 of the labelled pairs, such as \(q5, p50\)"):
        list(iter_rows(find_source(identity(labels=labels, text_from=other))))


def test_content_and_not_paths_identify_the_rows(pairs, labels, tmp_path):
    import shutil

    before = find_source(identity(pairs=pairs))
    shutil.copytree(pairs, tmp_path / "moved")
    after = find_source(identity(pairs=tmp_path / "moved"))
    assert before.content == after.content and before.sets != after.sets
    assert dataclasses.replace(after, sets=before.sets, inputs=before.inputs) == before


def test_no_pairs_is_an_error(student, tmp_path):
    with pytest.raises(UserError, match="no pairs"):
        write(tmp_path, iter([]), load_encoder(student))


def test_data_knows_its_lengths(labels, student, tmp_path):
    data = prepare_data(find_source(identity(labels=labels)), load_encoder(student), tmp_path / "cache", Place())
    assert isinstance(data, TrainingData)
    assert data.lengths.tolist() == np.diff(data.offsets).tolist()
