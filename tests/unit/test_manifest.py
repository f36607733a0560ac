"""Outputs that belong to one job, and manifests that notice a changed shard."""

from pathlib import Path

import pytest

from inranker.errors import UserError
from inranker.fingerprint import canonical_json, difference, fingerprint, sha256_bytes
from inranker.manifest import (
    IDENTITY,
    MANIFEST,
    Manifest,
    Shard,
    claim_output,
    read_manifest,
    verify_shards,
    write_manifest,
)
from inranker.storage import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "output"))


def finish(store: Store, identity: dict[str, object]) -> Manifest:
    claim_output(store, "mine", identity)
    store.write("pairs-0", b"rows")
    shards = [Shard("pairs-0", 4, sha256_bytes(b"rows"))]
    return write_manifest(store, Manifest("mine", fingerprint(identity), identity, shards=shards))


def test_fingerprints_ignore_order_and_notice_values() -> None:
    assert canonical_json({"b": 1, "a": (1, 2)}) == '{"a":[1,2],"b":1}'
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})
    with pytest.raises(ValueError, match="JSON"):
        fingerprint({"a": float("nan")})


def test_a_difference_is_field_by_field() -> None:
    assert difference({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 0}) == ["a.c: 3 -> 2", "d: 0 -> None"]


def test_a_finished_output_is_recognised(store: Store) -> None:
    assert not claim_output(store, "mine", {"seed": 1})
    assert not claim_output(store, "mine", {"seed": 1})
    written = finish(store, {"seed": 1})
    assert claim_output(store, "mine", {"seed": 1})
    assert read_manifest(store) == written
    assert written.versions["inranker"] != "absent"


def test_another_identity_is_refused_with_the_fields_that_differ(store: Store) -> None:
    claim_output(store, "mine", {"seed": 1, "depth": 10})
    with pytest.raises(UserError, match="seed: 1 -> 2") as caught:
        claim_output(store, "mine", {"seed": 2, "depth": 10})
    assert "depth" not in str(caught.value)
    with pytest.raises(UserError, match="stage: 'mine' -> 'label'"):
        claim_output(store, "label", {"seed": 1, "depth": 10})


def test_somebody_elses_directory_is_refused(store: Store) -> None:
    store.write("thesis.txt", b"x")
    with pytest.raises(UserError, match=r"thesis\.txt"):
        claim_output(store, "mine", {"seed": 1})
    assert store.list("") == ["thesis.txt"]


def test_two_starts_of_one_job_on_an_empty_output_do_not_take_each_other_for_strangers(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = store.exists

    def late(name: str) -> bool:
        """The other start claims the output between this one's looking and its listing."""
        found = looked(name)
        monkeypatch.setattr(store, "exists", looked)
        claim_output(store, "mine", {"a": 1})
        return found

    monkeypatch.setattr(store, "exists", late)
    assert not claim_output(store, "mine", {"a": 1})
    monkeypatch.setattr(store, "exists", lambda name: False)
    with pytest.raises(UserError, match="another identity"):
        claim_output(store, "mine", {"a": 2})


def test_a_changed_or_missing_shard_is_found(store: Store) -> None:
    manifest = finish(store, {"seed": 1})
    verify_shards(store, manifest)
    store.write("pairs-0", b"r0ws")
    with pytest.raises(UserError, match=r"pairs-0 differs"):
        verify_shards(store, manifest)
    store.delete("pairs-0")
    with pytest.raises(UserError, match=r"pairs-0 is missing"):
        verify_shards(store, manifest)


@pytest.mark.parametrize("damage", [b"{", b"[]", b"{}", b'{"stage": "mine", "shards": [{}]}'])
def test_a_damaged_manifest_is_named(store: Store, damage: bytes) -> None:
    store.write(IDENTITY, damage)
    store.write(MANIFEST, damage)
    with pytest.raises(UserError, match=r"manifest"):
        read_manifest(store)


def test_an_unfinished_output_says_so(store: Store) -> None:
    claim_output(store, "mine", {"seed": 1})
    with pytest.raises(UserError, match="has not finished"):
        read_manifest(store)


def test_the_content_hash_follows_shards_and_identity(store: Store) -> None:
    manifest = finish(store, {"seed": 1})
    other = Manifest("mine", manifest.fingerprint, manifest.identity, shards=[Shard("pairs-0", 4, "0" * 64)])
    assert manifest.content_hash != other.content_hash
