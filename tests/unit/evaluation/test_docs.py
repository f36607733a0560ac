"""docs/evaluation.md is true: its commands are understood."""

import re
import shlex
from pathlib import Path

import pytest

from inranker.console import main

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "evaluation.md"
BLOCKS = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
COMMANDS = [line.strip() for line in "".join(BLOCKS).replace("\\\n", " ").splitlines() if line.strip()]


def test_every_stage_of_evaluation_is_shown() -> None:
    shown = {Path(line.split()[1]).stem for line in COMMANDS}
    assert {"evaluate", "average", "agree"} <= shown


@pytest.mark.parametrize("line", COMMANDS)
def test_a_documented_command_is_understood(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By the `inranker` command, in this process: a script of the same name takes the same words."""
    program, script, *words = shlex.split(line)
    assert program == "python" and (DOCUMENT.parents[1] / script).is_file()
    with pytest.raises(SystemExit) as stopped:
        main([Path(script).stem, *words, "--print_config"])
    told = capsys.readouterr()
    assert stopped.value.code == 0, told.err
    assert "output:" in told.out
