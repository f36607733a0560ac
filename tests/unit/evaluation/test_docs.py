"""docs/evaluation.md is true: its commands are understood."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
BLOCKS = re.findall(r"```sh\n(.*?)```", (REPOSITORY / "docs" / "evaluation.md").read_text(), re.DOTALL)
COMMANDS = [line.strip() for line in "".join(BLOCKS).replace("\\\n", " ").splitlines() if line.strip()]


def test_every_stage_of_evaluation_is_shown() -> None:
    shown = {line.split()[1] for line in COMMANDS}
    assert {f"pipelines/{name}.py" for name in ("evaluate", "average", "agree")} <= shown


@pytest.mark.parametrize("name", sorted({line.split()[1] for line in COMMANDS}))
def test_commands_are_understood(name: str) -> None:
    """All commands of a stage in one process: what costs seconds is importing."""
    words = [shlex.split(line)[2:] for line in COMMANDS if line.split()[1] == name]
    program = (
        "import json, runpy, sys\n"
        "given = json.loads(sys.argv[1])\n"
        "for words in given:\n"
        f"    sys.argv[:] = ['{name}', *words, '--print_config']\n"
        "    try:\n"
        f"        runpy.run_path('{name}', run_name='__main__')\n"
        "    except SystemExit as ended:\n"
        "        assert not ended.code, words\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, json.dumps(words)], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
