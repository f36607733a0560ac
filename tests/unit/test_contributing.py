"""CONTRIBUTING.md's examples run as they stand, and there is one of each kind."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ir_measures
import pytest

from inranker.corpora import READERS
from inranker.losses import LOSSES
from inranker.rerankers.contract import FAMILIES
from inranker.retrieval import RETRIEVERS
from inranker.synthesis.filters import FILTERS
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^### (.+?)\n(?:(?!^###).)*?```python\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE))
KINDS: dict[str, dict[str, Any]] = {
    "FAMILIES": FAMILIES,
    "LOSSES": LOSSES,
    "READERS": READERS,
    "FILTERS": FILTERS,
    "RETRIEVERS": RETRIEVERS,
}


@pytest.fixture
def registries() -> Iterator[None]:
    """Registries are afterwards as they were before."""
    tables: list[dict[str, Any]] = [*KINDS.values(), ir_measures.measures.registry]
    before = [dict(table) for table in tables]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


def test_there_is_an_example_of_every_kind() -> None:
    assert {kind for kind in KINDS for code in EXAMPLES.values() if f"\n{kind}[" in code} == set(KINDS)
    assert "A measure" in EXAMPLES
    assert len(EXAMPLES) == TEXT.count("```python")


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs(name: str, registries: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "assert " in EXAMPLES[name]
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLES[name], f"CONTRIBUTING.md, {name}", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("name", re.findall(r"`((?:[a-z_]+/)+[a-z_]*(?:\.py|\.md)?)`", TEXT))
def test_what_it_names_is_there(name: str) -> None:
    assert (REPOSITORY / name).exists() or (REPOSITORY / "tests" / name).exists() or name == "recipes/"
