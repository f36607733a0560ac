"""Where a report lies, and the rule that it never costs the job it is about."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from inranker.manifest import Manifest
from inranker.report.page import Html, code, shorten, table
from inranker.storage import Store

REPORT = "report.html"
MOST_OF_A_VALUE = 300  # characters of a setting
# What a link of the chain of custody says: by which content, and where it lay or what it is called.
CONTENT = ("content_hash", "content", "scorer", "sha256", "md5")
WHERE = ("path", "name", "argument", "split", "language", "licence")


def write_report(store: Store, page: bytes) -> str:
    """Put a page beside the manifest of its job; returns its URL."""
    store.write(REPORT, page)
    return report_url(store)


def report_url(store: Store) -> str:
    """Where the page of an output is."""
    return f"{store.url.rstrip('/')}/{REPORT}"


def report_or_warn(report: Callable[[], dict[str, Any]], again: str) -> dict[str, Any]:
    """Write the report of a job that is complete.

    Args:
        report: writes it; its `report` is the page's URL.
        again: how to write it later.

    Returns:
        `report`: the URL; None where it could not be written, which is said on stderr and fails nothing.
    """
    with warned(f"the job is complete, its report is not; write it with {again}"):
        return {"report": report()["report"]}
    return {"report": None}


@contextmanager
def warned(sentence: str) -> Iterator[None]:
    """Turn any error of what only describes a job into a warning: the job's own work is done."""
    try:
        yield
    except Exception as error:
        print(f"warning: {sentence} ({error!r})", file=sys.stderr)


def custody(manifest: Manifest) -> Html:
    """What an output was made from, link by link, by content hash."""
    rows: list[tuple[Any, ...]] = [(manifest.stage, code(manifest.fingerprint), "this job's fingerprint")]
    rows += _links("", manifest.inputs)
    return table(("made from", "content", "where or what"), rows, "Chain of custody")


def _links(parent: str, inputs: dict[str, Any]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for name, link in inputs.items():
        title = f"{parent} › {name}" if parent else name
        if isinstance(link, list):
            rows += _links(title, {str(place): one for place, one in enumerate(link, start=1)})
        elif isinstance(link, dict):
            content = next((link[key] for key in CONTENT if key in link), None)
            where = " · ".join(str(link[key]) for key in WHERE if link.get(key))
            if content or where:
                rows.append((title, code(content or "–"), where or "–"))
            rows += _links(title, link)
    return rows


def fields(values: dict[str, Any], caption: str) -> Html:
    """Nested settings as a table of dotted names; those that are not set are left out."""
    return table(
        ("field", "value"), [(name, code(shorten(value, MOST_OF_A_VALUE))) for name, value in _flat(values)], caption
    )


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        elif value is not None:
            rows.append((f"{prefix}{name}", str(value)))
    return rows
