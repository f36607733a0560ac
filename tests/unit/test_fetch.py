"""Folders in object storage become directories of this machine, once, and anew when they change."""

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from inranker.errors import UserError
from inranker.fetch import local_folder, make_whole, upload
from inranker.rerankers import load_reranker, scorer_identity
from inranker.starts import CreateConfig, CreateIdentity, create
from inranker.storage import Store
from tests.builders import TINY


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("inranker.fetch.folder_cache", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def test_a_local_folder_stays_where_it_is(tmp_path: Path) -> None:
    assert local_folder(tmp_path) == tmp_path
    assert local_folder(f"file://{tmp_path}") == tmp_path


def test_a_folder_on_s3_is_downloaded_once_and_anew_when_it_changes(s3_url: str, tmp_path: Path) -> None:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "b").write_text("two")
    (tmp_path / "folder" / "a").write_text("one")
    upload(tmp_path / "folder", Store(s3_url), "model")
    first = local_folder(f"{s3_url}/model")
    assert {str(file.relative_to(first)): file.read_text() for file in first.rglob("*") if file.is_file()} == {
        "a": "one",
        "deep/b": "two",
    }
    with patch("inranker.fetch._download", side_effect=AssertionError("downloaded twice")):
        assert local_folder(f"{s3_url}/model/") == first
    Store(s3_url).write("model/a", b"new")
    second = local_folder(f"{s3_url}/model")
    assert second != first and (second / "a").read_text() == "new"


def test_a_reranker_on_s3_is_the_one_that_was_put_there(teacher: Path, s3_url: str) -> None:
    upload(teacher, Store(s3_url), "teacher")
    assert scorer_identity(f"{s3_url}/teacher") == scorer_identity(str(teacher))
    here, there = load_reranker(str(teacher)), load_reranker(f"{s3_url}/teacher")
    np.testing.assert_array_equal(there.score(["open file"], ["read lock"]), here.score(["open file"], ["read lock"]))


def test_a_new_model_is_created_on_s3_from_a_tokenizer_there(tokenizer: Path, s3_url: str, tmp_path: Path) -> None:
    upload(tokenizer, Store(s3_url), "tokenizer")
    there = CreateConfig(CreateIdentity(f"{s3_url}/tokenizer", TINY, seed=4), f"{s3_url}/start")
    here = CreateConfig(CreateIdentity(str(tokenizer), TINY, seed=4), str(tmp_path / "start"))
    assert create(there)["parameters"] == create(here)["parameters"]
    assert create(there)["skipped"]
    assert scorer_identity(f"{s3_url}/start/model") == scorer_identity(str(tmp_path / "start" / "model"))


def test_where_nothing_lies_is_said(s3_url: str) -> None:
    with pytest.raises(UserError, match="nothing lies there; name a folder"):
        local_folder(f"{s3_url}/nowhere")


def test_a_download_that_fails_leaves_nothing_that_looks_whole(cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("h")
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        make_whole(cache / "model", fail)
    assert list(cache.iterdir()) == []
