"""What a stage's output directory says of itself: identity, shards, counts, and what it was made from.

`identity.json` is the first object of an output (put-if-absent, so two jobs cannot both own the place) and
`manifest.json` the last (its presence means: complete).
"""

import dataclasses
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inranker.errors import UserError
from inranker.fingerprint import difference, fingerprint, plain, sha256_bytes
from inranker.storage import Store

IDENTITY = "identity.json"
MANIFEST = "manifest.json"
RECORDED_PACKAGES = ("inranker", "torch", "transformers", "ray", "deepspeed", "bm25s", "pyarrow")


@dataclass(frozen=True)
class Shard:
    """One object of an output: its name, number of rows and sha256."""

    name: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A finished output.

    `inputs` maps a role (`pairs`, `teacher`, `collection`) to what identifies it: the links of the chain of custody
    from a student back to the corpus.
    """

    stage: str
    fingerprint: str
    identity: dict[str, Any]
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    shards: list[Shard] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """What the next stage records of this one: its job fingerprint and every shard, but not the versions."""
        return fingerprint({"fingerprint": self.fingerprint, "shards": self.shards})


def links(inputs: Mapping[str, Any], role: str) -> list[dict[str, Any]]:
    """The links of a role in a manifest's inputs: `labels` where there is one, `labels_1`, `labels_2`, … of several."""
    one = inputs.get(role)
    several = [link for name, link in inputs.items() if name.startswith(f"{role}_") and name[len(role) + 1 :].isdigit()]
    return [one] if one is not None else several


def to_json(value: Any) -> bytes:
    """Readable JSON of a manifest, receipt or summary."""
    return (json.dumps(plain(value), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def claim_output(store: Store, stage: str, identity: Any, **stored: Any) -> bool:
    """Make an output directory this job's own; True when the job is complete already.

    Args:
        store: the output.
        stage: name of the stage.
        identity: what the result depends on; fingerprinted.
        stored: execution choices fixed at the first start, kept beside the identity and not fingerprinted.

    Raises:
        UserError: the directory was made under another identity (with the fields that differ), or holds other files.
    """
    claim = {"stage": stage, "fingerprint": fingerprint(identity), "identity": plain(identity), **stored}
    # Listed again: another start of the same job may have claimed it since.
    if not store.exists(IDENTITY) and (strangers := store.list("")) and IDENTITY not in strangers:
        raise UserError(
            f"output {store.url} is not empty and has no {IDENTITY} (it holds {strangers[0]}); name another directory"
        )
    if not store.put_if_absent(IDENTITY, to_json(claim)):
        require_same_identity(store, claim)
    return store.exists(MANIFEST)


def read_identity(store: Store) -> dict[str, Any]:
    """The claim that an output was made under.

    Raises:
        UserError: it is missing or damaged.
    """
    return _read_json(store, IDENTITY, "it is not the output of a stage, or its first write was lost")


def require_same_identity(store: Store, claim: dict[str, Any]) -> None:
    """Refuse an output of another job, field by field."""
    theirs = read_identity(store)
    if (theirs.get("stage"), theirs.get("fingerprint")) == (claim["stage"], claim["fingerprint"]):
        return
    mine, made = ({"stage": side["stage"], **side["identity"]} for side in (claim, theirs))
    raise UserError(
        f"output {store.url} was made under another identity ({'; '.join(difference(mine, made))}); "
        "name another output, or give the same values to continue that job"
    )


def write_manifest(store: Store, manifest: Manifest) -> Manifest:
    """Complete an output; where another finisher of the same job was first, its manifest stands and is returned."""
    versions = {name: _version(name) for name in RECORDED_PACKAGES}
    store.put_if_absent(MANIFEST, to_json(dataclasses.replace(manifest, versions=versions)))
    return read_manifest(store)


def read_manifest(where: Store | str) -> Manifest:
    """The manifest of a finished output.

    Raises:
        UserError: there is none (unfinished, or not an output), or it is damaged.
    """
    store = where if isinstance(where, Store) else Store(where)
    raw = _read_json(store, MANIFEST, "the stage that writes it has not finished; run it again to complete it")
    try:
        return Manifest(**{**raw, "shards": [Shard(**shard) for shard in raw["shards"]]})
    except (TypeError, KeyError) as error:
        raise UserError(f"{store.url}/{MANIFEST} is not a manifest: {error}") from error


def verify_shards(store: Store, manifest: Manifest) -> None:
    """Read every shard again and compare its sha256.

    Raises:
        UserError: naming the first shard that is missing or differs.
    """
    for shard in manifest.shards:
        read_shard(store, shard)


def read_shard(store: Store, shard: Shard) -> bytes:
    """A shard's bytes, checked against the manifest.

    Raises:
        UserError: it is missing or differs.
    """
    try:
        data = store.read(shard.name)
    except FileNotFoundError as error:
        raise UserError(f"{store.url}/{shard.name} is missing; make the output anew") from error
    if sha256_bytes(data) != shard.sha256:
        raise UserError(f"{store.url}/{shard.name} differs from its sha256 in the manifest; make the output anew")
    return data


def _read_json(store: Store, name: str, why_missing: str) -> dict[str, Any]:
    try:
        value = json.loads(store.read(name))
    except FileNotFoundError as error:
        raise UserError(f"{store.url} has no {name}: {why_missing}") from error
    except ValueError as error:
        raise UserError(f"{store.url}/{name} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{store.url}/{name} is damaged: it holds no JSON object")
    return value


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
