"""The README is true: its commands parse, and those that need nothing but this machine run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
RUNS_HERE = "out/readme"  # commands that write there need no GPU, no hub, no other collection


def commands() -> list[str]:
    """Every `python pipelines/…` and `make …` line of the README's shell blocks, continuation lines joined."""
    blocks = re.findall(r"```sh\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.partition("#")[0].strip() for line in lines if line.strip()]


STAGE_COMMANDS = [line for line in commands() if line.startswith("python pipelines/")]


def test_readme_has_commands_of_every_stage() -> None:
    named = {shlex.split(line)[1] for line in STAGE_COMMANDS}
    stages = (
        "mine",
        "synthesize",
        "label",
        "train",
        "evaluate",
        "distill",
        "combine",
        "import_labels",
        "export_labels",
        "export",
        "average",
    )
    assert named == {f"pipelines/{stage}.py" for stage in stages}
    assert {line.split()[1] for line in commands() if line.startswith("make ")} == {"quickstart", "test"}


@pytest.mark.parametrize("line", STAGE_COMMANDS)
def test_readme_command_is_understood(line: str) -> None:
    words = shlex.split(line)
    modes = [word for word in words if word in ("--verify", "--plan")]
    plain = [word for word in words[1:] if word not in modes]
    result = subprocess.run([sys.executable, *plain, "--print_config"], cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert any(f"{group}:" in result.stdout for group in ("identity", "stages", "evaluations"))


@pytest.mark.parametrize("line", [line for line in STAGE_COMMANDS if RUNS_HERE in line])
def test_readme_command_runs(line: str, tmp_path: Path) -> None:
    words = [word.replace(RUNS_HERE, str(tmp_path)) for word in shlex.split(line)[1:]]
    result = subprocess.run([sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert any(tmp_path.rglob("*.json"))


def test_readme_shows_the_quickstart_as_it_prints() -> None:
    """Rows and columns of the pasted table are those that a summary prints, and its claims hold of its figures."""
    shown = re.search(r"<!-- quickstart -->\n```\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    rows = {cells[0]: cells[1:] for cells in (re.findall(r"[^|\s]+", line) for line in shown[1].splitlines()) if cells}
    column = next(cells for name, cells in rows.items() if "nDCG@10" in cells).index("nDCG@10")
    figures = {name: float(rows[name][column]) for name in ("bm25", "teacher", "student_before", "student")}
    fidelity = dict(zip(rows["fidelity"][::2], map(float, rows["fidelity"][1::2]), strict=True))
    assert figures["student"] > figures["student_before"]
    assert fidelity["mse"] <= min(fidelity["mse_before"], fidelity["mse_constant"]) / 2
    assert fidelity["kendall_tau"] >= 0.3
