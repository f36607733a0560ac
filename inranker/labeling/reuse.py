"""Logits that earlier jobs of the same scorer wrote, found again by the texts of their pairs.

One streaming pass over the earlier labels writes an index beside the new ones: 64 buckets by the leading bits of the
key, each sorted and read through a memory map. Nobody holds all of it: the builder a bucket at a time, a worker only
the pages that its searches touch.
"""

import json
import os
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from inranker.errors import UserError
from inranker.fingerprint import difference, fingerprint, sha256_bytes
from inranker.labeling.dedupe import ANSWER, KEY, text_keys
from inranker.labeling.read import iter_labelled_pairs
from inranker.manifest import Shard, read_identity, read_manifest, read_shard, to_json
from inranker.storage import Store

FOLDER = "reuse"
INDEX = "index.json"
BUCKET_BITS = 6
ENTRY = np.dtype([*KEY.descr, *ANSWER.descr])


def reuse_sources(urls: Sequence[str], scorer: dict[str, Any]) -> list[dict[str, str]]:
    """The earlier labels to consult, as a manifest names them; no rows are read.

    Args:
        urls: finished labels directories.
        scorer: the new job's scorer identity, which must be theirs.

    Raises:
        UserError: one of them is missing, unfinished, not labels, or of another scorer (with the fields that differ).
    """
    sources = []
    for url in urls:
        store = Store(url)
        claim = read_identity(store)
        if claim["stage"] != "label":
            raise UserError(f"reuse: {url} is the output of stage {claim['stage']!r}; name a labels directory")
        if differing := difference(scorer, claim["identity"].get("scorer"), "scorer"):
            raise UserError(
                f"reuse: {url} was labelled by another scorer ({'; '.join(differing)}); its logits are not "
                "interchangeable with this teacher's, so leave it out"
            )
        sources.append({"path": url, "content_hash": read_manifest(store).content_hash})
    return sources


def build_index(output: Store, sources: Sequence[dict[str, str]]) -> str:
    """Write the index of earlier labels into a job's output, unless it is there; its name is returned.

    Raises:
        UserError: labels or their pairs are missing or not as their manifests say.
    """
    name = f"{FOLDER}/{fingerprint([source['content_hash'] for source in sources])[:16]}"
    if output.exists(f"{name}/{INDEX}"):
        return name
    with tempfile.TemporaryDirectory(prefix="inranker-reuse-") as folder:
        parts = [Path(folder, f"{bucket:02d}") for bucket in range(1 << BUCKET_BITS)]
        _scatter(parts, [source["path"] for source in sources])
        buckets = [_write_bucket(output, name, part) for part in parts]
    output.put_if_absent(f"{name}/{INDEX}", to_json({"sources": list(sources), "buckets": buckets}))
    return name


def indexed_sources(output: Store) -> list[dict[str, str]]:
    """The earlier labels that any start of a job consulted."""
    names = [name for name in output.list(FOLDER) if name.endswith(f"/{INDEX}")]
    found = [source for name in names for source in json.loads(output.read(name))["sources"]]
    return [source for place, source in enumerate(found) if source not in found[:place]]


class ReuseIndex:
    """Looks answers up by key.

    Args:
        output: the output that holds the index.
        name: what `build_index` returned.
    """

    def __init__(self, output: Store, name: str) -> None:
        self.output = output
        self.buckets = [Shard(**raw) for raw in json.loads(output.read(f"{name}/{INDEX}"))["buckets"]]
        self.opened: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def lookup(self, keys_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which keys are known, bool [M], and their answers in order, `ANSWER` [K]."""
        found = np.zeros(len(keys_M), bool)
        answers = np.zeros(len(keys_M), ANSWER)
        bucket_M = _bucket(keys_M)
        for bucket in np.unique(bucket_M):
            rows = np.flatnonzero(bucket_M == bucket)
            high, low, stored = self._open(int(bucket))
            if not len(high):
                continue
            place = np.minimum(np.searchsorted(high, keys_M["high"][rows]), len(high) - 1)
            hit = (high[place] == keys_M["high"][rows]) & (low[place] == keys_M["low"][rows])
            found[rows[hit]] = True
            answers[rows[hit]] = stored[place[hit]]
        return found, answers[found]

    def _open(self, bucket: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if bucket not in self.opened:
            shard = self.buckets[bucket]
            # Columns, not records: a search needs one aligned array.
            kinds = (np.dtype("<u8"), np.dtype("<u8"), ANSWER)
            starts = (0, 8 * shard.rows, 16 * shard.rows)
            columns = [np.zeros(0, kind) for kind in kinds]
            if shard.rows:
                file = self._file(shard)
                columns = [
                    np.memmap(file, kind, "r", start, shape=(shard.rows,))
                    for kind, start in zip(kinds, starts, strict=True)
                ]
            self.opened[bucket] = (columns[0], columns[1], columns[2])
        return self.opened[bucket]

    def _file(self, shard: Shard) -> Path:
        """The bucket on this node's disk, fetched by its first user."""
        if (local := self.output.local_path(shard.name)) is not None:
            return local
        folder = Path(tempfile.gettempdir()) / f"inranker-reuse-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        place = folder / shard.sha256
        if not place.exists():
            draft = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
            draft.write_bytes(read_shard(self.output, shard))
            os.replace(draft, place)  # whole or not there; two fetchers bring the same bytes
        return place


def _scatter(parts: list[Path], urls: Sequence[str]) -> None:
    """Append every labelled pair's entry to the file of its bucket."""
    with ExitStack() as stack:
        files = [stack.enter_context(open(part, "wb")) for part in parts]
        for url in urls:
            for table in iter_labelled_pairs(url):
                entries = _entries(table)
                bucket = _bucket(entries)
                order = np.argsort(bucket, kind="stable")
                bounds = np.searchsorted(bucket[order], np.arange(len(parts) + 1))
                for number, file in enumerate(files):
                    file.write(entries[order[bounds[number] : bounds[number + 1]]].tobytes())


def _entries(table: pa.Table) -> np.ndarray:
    keys = text_keys(table["query"].to_pylist(), table["passage"].to_pylist())
    entries = np.empty(table.num_rows, ENTRY)
    for name in KEY.names or ():
        entries[name] = keys[name]
    for name in ANSWER.names or ():
        entries[name] = table[name].to_numpy()
    return entries


def _write_bucket(output: Store, name: str, part: Path) -> Shard:
    entries = np.fromfile(part, ENTRY)
    entries = entries[np.lexsort((entries["low"], entries["high"]))]
    repeated = (entries["high"][1:] == entries["high"][:-1]) & (entries["low"][1:] == entries["low"][:-1])
    entries = entries[np.concatenate([np.ones(min(1, len(entries)), bool), ~repeated])]
    answers = np.empty(len(entries), ANSWER)
    for field in ANSWER.names or ():
        answers[field] = entries[field]
    data = entries["high"].tobytes() + entries["low"].tobytes() + answers.tobytes()
    key = f"{name}/{part.name}-{uuid.uuid4().hex[:12]}.bin"
    output.write(key, data)
    return Shard(key, len(entries), sha256_bytes(data))


def _bucket(keys: np.ndarray) -> np.ndarray:
    return (keys["high"] >> np.uint64(64 - BUCKET_BITS)).astype(np.int64)
