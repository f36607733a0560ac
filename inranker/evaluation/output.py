"""What an evaluation leaves behind: run files, per-query values, the summary and the manifest."""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inranker.evaluation.measures import PerQuery
from inranker.fingerprint import sha256_bytes
from inranker.manifest import Manifest, Shard, to_json, write_manifest
from inranker.retrieval.runs import Run, write_run
from inranker.storage import Store

SUMMARY = "summary.json"
PER_QUERY = "per_query.jsonl"


def file_names(systems: list[str]) -> dict[str, str]:
    """A file name and TREC tag for each system: its name where that will do, never the same for two."""
    names: dict[str, str] = {}
    for system in systems:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", system).strip("._") or "system"
        name, number = plain, 2
        while name in names.values():
            name, number = f"{plain}_{number}", number + 1
        names[system] = name
    return names


def write_output(
    store: Store,
    summary: dict[str, Any],
    runs: Mapping[str, Run],
    values: Mapping[str, PerQuery],
    identity: dict[str, Any],
    files: Mapping[str, Sequence[Any]] | None = None,
) -> None:
    """Write everything, the manifest last.

    Args:
        store: the output, claimed.
        summary: what the stage returns.
        runs: system -> its run; written to `runs/SYSTEM.trec`.
        values: system -> measure -> query_id -> value; written to `per_query.jsonl`, a line a system and query.
        identity: what the job was fingerprinted by.
        files: name -> records of further files of JSON lines.
    """
    names = file_names(list(runs))
    shards = [
        _put(store, f"runs/{names[system]}.trec", *_run_bytes(run, names[system])) for system, run in runs.items()
    ]
    for name, held in ({PER_QUERY: list(per_query_records(values))} | dict(files or {})).items():
        text = "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in held)
        shards.append(_put(store, name, text.encode(), len(held)))
    shards.append(_put(store, SUMMARY, to_json(summary), 1))
    write_manifest(
        store,
        Manifest(
            stage=summary["stage"],
            fingerprint=summary["fingerprint"],
            identity=identity,
            inputs={
                "collection": identity["collection"],
                **{f"system {name}": value for name, value in identity["systems"].items() if value is not None},
            },
            shards=shards,
            counts={"queries": summary["queries"], "systems": len(summary["systems"])},
            figures={"systems": summary["systems"], "fidelity": summary.get("fidelity")},
        ),
    )


def per_query_records(values: Mapping[str, PerQuery]) -> Iterator[dict[str, Any]]:
    """One flat record a system and query: `{"system", "query_id", measure: value, …}`."""
    for system, by_measure in values.items():
        for query_id in next(iter(by_measure.values())):
            measured = {measure: by_query[query_id] for measure, by_query in by_measure.items()}
            yield {"system": system, "query_id": query_id, **measured}


def _put(store: Store, name: str, data: bytes, rows: int) -> Shard:
    store.write(name, data)
    return Shard(name, rows, sha256_bytes(data))


def _run_bytes(run: Run, tag: str) -> tuple[bytes, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.trec")
        write_run(path, run, tag)
        return path.read_bytes(), sum(len(ranking) for ranking in run.values())
