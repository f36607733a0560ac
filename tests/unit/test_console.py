"""The `inranker` command: its table agrees with the stage scripts, and people's mistakes are sentences."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inranker.commands import COMMANDS, Command
from inranker.console import found, main, positional, usage

PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"
SCRIPTS = {path.stem: path for path in sorted(PIPELINES.glob("*.py"))}


def as_command(script: Path) -> tuple[str, str, dict[str, str]]:
    """(config, stage, modes) of a script's `main(…)`, by the places it imports them from."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    places = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    modes: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and node.targets[0].id == "MODES":  # type: ignore[attr-defined]
            pairs: Any = zip(node.value.keys, node.value.values, strict=True)
            modes = {key.value: places[value.elts[0].id] for key, value in pairs}
    call: Any = next(n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "main")
    return places[call.args[0].id], places[call.args[1].id], modes


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "rank"])
def test_every_stage_script_is_a_command(name: str) -> None:
    config, stage, modes = as_command(SCRIPTS[name])
    assert name in COMMANDS, f"add a line for {name} to inranker/commands.py"
    assert COMMANDS[name] == Command(config, stage, COMMANDS[name].help, modes)


def test_every_command_is_a_stage_script() -> None:
    assert set(COMMANDS) == set(SCRIPTS)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    shown = capsys.readouterr().out
    assert shown.strip() == usage() and all(f"  {name} " in shown for name in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out.strip() == found("inranker:__version__")


def test_an_unknown_command_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["rnak"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: 'rnak' is no command of inranker; it has rank, ")


@pytest.mark.parametrize("name", ["rank", "evaluate"])
def test_a_commands_help_keeps_its_examples_apart(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    shown = capsys.readouterr().out
    assert stopped.value.code == 0
    assert shown.startswith(f"usage: inranker {name} ") and "--json JSON" in shown


@pytest.mark.parametrize(
    ("words", "spelled"),
    [
        (["how?", "a.md", "b"], ["--query", "how?", "--files", "a.md", "b"]),
        (["how?", "--top_k", "3"], ["--query", "how?", "--top_k", "3"]),
        (["--model", "m"], ["--model", "m"]),
        (["recipe.yaml", "--model", "m"], ["recipe.yaml", "--model", "m"]),
    ],
)
def test_bare_words_are_the_query_and_its_files(words: list[str], spelled: list[str]) -> None:
    assert positional(words) == spelled


@pytest.mark.slow  # five thousand lines
def test_a_reader_that_has_seen_enough_ends_it_quietly(teacher: Path, tmp_path: Path) -> None:
    line = '{"query": "open", "passages": ["close file", "sort list"]}\n'
    (tmp_path / "in.jsonl").write_text(line * 5000)
    command = f"{sys.executable} -m inranker.console rank --model {teacher} --batch_pairs 2 --input {tmp_path}/in.jsonl"
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -n 1"], capture_output=True, text=True, timeout=300
    )
    assert result.stdout.count("\n") == 1 and result.returncode == 141
    assert "Traceback" not in result.stderr and "Error" not in result.stderr


DOCUMENTS = [PIPELINES.parent / "README.md", PIPELINES.parent / "docs" / "ranking.md"]


def documented() -> list[str]:
    """Every `inranker …` line of the documents' shell blocks."""
    blocks = [part for file in DOCUMENTS for part in re.findall(r"```sh\n(.*?)```", file.read_text(), re.DOTALL)]
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return sorted({line.partition("#")[0].strip() for line in lines if line.startswith("inranker ")})


@pytest.mark.parametrize("line", documented())
def test_documented_commands_are_understood(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(re.split(r"[<>]", line)[0])[1:]
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--print_config"])
    assert stopped.value.code == 0, capsys.readouterr().err
    assert ":" in capsys.readouterr().out
