"""Fixtures that every kind of test may use."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real collections and vocabularies that may not be redistributed with the project."""
    folder = Path(os.environ.get("INRANKER_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "collections").is_dir():
        pytest.skip(f"real collections are not at {folder} (set INRANKER_SHARED)")
    return folder
