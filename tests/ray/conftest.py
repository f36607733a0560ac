"""What several files about whole pipelines start from."""

import json
import os
from pathlib import Path

import pytest
from filelock import FileLock

from inranker.distill import distill
from tests.distilling import read_recipe, recipe, write_collection


@pytest.fixture(scope="session")
def small_pipeline(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small collection, a recipe of every stage, `out`, and the first run's summary as `first.json`.

    Run once for all processes of a test run. Tests read it, and change nothing in it but by a second run.
    """
    together = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        together = together.parent
    folder = together / "small-pipeline"
    with FileLock(f"{folder}.lock"):
        if not (folder / "first.json").exists():
            write_collection(folder / "collection")
            summary = distill(read_recipe(folder, recipe()))
            (folder / "first.json").write_text(json.dumps(summary))
    return folder
