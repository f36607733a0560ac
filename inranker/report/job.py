"""Where a report lies, and the rule that it never costs the job it is about."""

import sys
from collections.abc import Callable
from typing import Any

from inranker.manifest import Manifest
from inranker.report.page import Html, code, escape, table
from inranker.storage import Store

REPORT = "report.html"


def write_report(store: Store, page: bytes) -> str:
    """Put a page beside the manifest of its job; returns its URL."""
    store.write(REPORT, page)
    return f"{store.url.rstrip('/')}/{REPORT}"


def report_or_warn(report: Callable[[], dict[str, Any]], again: str) -> dict[str, Any]:
    """Write the report of a job that is complete.

    Args:
        report: writes it; its `report` is the page's URL.
        again: how to write it later.

    Returns:
        `report`: the URL; None where it could not be written, which is said on stderr and fails nothing.
    """
    try:
        return {"report": report()["report"]}
    except Exception as error:  # whatever it is: the job is done and its manifest is written
        print(f"warning: the job is complete, its report is not: {error!r}; write it with {again}", file=sys.stderr)
        return {"report": None}


def custody(manifest: Manifest) -> Html:
    """What an output was made from, link by link, by content hash."""
    rows: list[tuple[Any, ...]] = [(manifest.stage, code(manifest.fingerprint), "this job's fingerprint")]
    rows += _links("", manifest.inputs)
    return table(("made from", "content", "where or what"), rows, "Chain of custody")


def _links(parent: str, inputs: dict[str, Any]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for name, link in inputs.items():
        if not isinstance(link, dict):
            continue
        title = f"{parent} › {name}" if parent else name
        content = next((link[key] for key in ("content_hash", "content", "scorer", "sha256") if key in link), "–")
        where = " · ".join(str(link[key]) for key in ("path", "name", "argument", "split", "licence") if link.get(key))
        rows.append((title, code(content), where or "–"))
        for inner in ("inputs", "teacher"):
            if isinstance(link.get(inner), dict):
                rows += _links(title, link[inner] if inner == "inputs" else {inner: link[inner]})
    return rows


def fields(values: dict[str, Any], caption: str) -> Html:
    """Nested settings as a table of dotted names; those that are not set are left out."""
    return table(("field", "value"), [(name, code(escape(value))) for name, value in _flat(values)], caption)


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        elif value is not None:
            rows.append((f"{prefix}{name}", str(value)))
    return rows
