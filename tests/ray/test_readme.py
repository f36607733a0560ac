"""The README and the pages beside it are true: commands parse or run, links lead somewhere, guarantees have tests."""

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from inranker.commands import COMMANDS
from inranker.config import make_parser, parse_config
from inranker.console import positional
from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = {
    str(path.relative_to(REPOSITORY)): path.read_text(encoding="utf-8")
    for path in sorted(
        [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("cluster/*.md"),
         *REPOSITORY.glob("pipelines/recipes/*.md"), REPOSITORY / "tests" / "README.md"]
    )
}  # fmt: skip
RUNS_HERE = "out/readme"  # commands that write there need no GPU, no hub, no other collection
ELLIPSIS = "…"  # stands for what was said before
# Programs that are not ours: what they are given is not looked at, but for a stage script after `--`.
OTHERS = {"pip", "curl", "ray", "kubectl", "helm", "docker", "jupyter", "cat", "git", "gcloud", "aws", "ssh", "export"}


def commands(page: str) -> list[str]:
    """Every line of a page's shell blocks, continuation lines joined, without comments and prompts."""
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", page, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.partition("  #")[0].partition(" # ")[0].strip() for line in lines if line.strip() and line[0] != "#"]


def words_of(line: str) -> list[str]:
    """A command's words up to what it is piped or sent to; variables before it left out."""
    words = shlex.split(line)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    ends = [n for n, word in enumerate(words) if word in ("<", ">", "|", "&&", "&")]
    return words[: ends[0]] if ends else words


LINES = [(name, line) for name, page in PAGES.items() for line in commands(page)]


def understand(stage: str, words: list[str]) -> Any:
    """The config that a stage's words make, read by the parser that the stage reads them with."""
    command = COMMANDS[stage]
    module, _, name = command.config.partition(":")
    config_class = getattr(import_module(module), name)
    parser = make_parser(config_class, stage, "")
    parser.add_argument("--json", type=str | None, default=None)
    for flag in command.modes:
        parser.add_argument(f"--{flag}", action="store_true")
    return parse_config(config_class, words, parser)[0]


@pytest.mark.parametrize(("page", "line"), LINES)
def test_readme_command_is_understood(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    words = words_of(line)
    if "--" in words:  # `ray job submit -- python pipelines/…`
        words = words[words.index("--") + 1 :]
    if ELLIPSIS in words:
        assert Path(words[1]).is_file() if words[0] == "python" else words[0] in ("inranker", *OTHERS)
    elif words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
        assert [word for word in words[1:] if "=" not in word and word not in targets] == []
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]), f"no module {words[2]}"
    elif words[0] == "python":
        assert Path(words[1]).is_file()
        if Path(words[1]).parent == Path("pipelines"):
            assert understand(Path(words[1]).stem, words[2:])
    elif words[0] == "inranker":
        assert understand(words[1], positional(words[2:]) if words[1] == "rank" else words[2:])
    else:
        assert words[0] in OTHERS, f"{page}: nothing here knows {words[0]}"


def test_readme_shows_every_stage() -> None:
    """In its table, and with a command on a page."""
    table = README[README.index("## Stages") : README.index("```sh\npython pipelines/mine.py")]
    named = set(re.findall(r"`([a-z_]+)`", table))
    shown = {Path(word).stem for _, line in LINES for word in words_of(line) if word.startswith("pipelines/")}
    shown |= {words_of(line)[1] for _, line in LINES if line.startswith("inranker ")}
    for stage in COMMANDS:
        assert stage in named, f"the README's table of stages lacks {stage}"
        assert stage in shown or f"pipelines/{stage}.py" in "".join(PAGES.values()), f"no page has a command of {stage}"
    assert {words_of(line)[1] for line in commands(README) if line.startswith("make ")} == {"quickstart", "test"}


@pytest.mark.parametrize("line", dict.fromkeys(line for _, line in LINES if RUNS_HERE in line))
def test_readme_command_runs(line: str, tmp_path: Path) -> None:
    words = [word.replace(RUNS_HERE, str(tmp_path)) for word in words_of(line)[1:]]
    result = subprocess.run([sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert any(tmp_path.rglob("*.json"))


def test_readme_code_runs(teacher: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its Python, with another model in the place of the hub's."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for code in blocks:
        assert '"unicamp-dl/InRanker-small"' in code
        exec(code.replace("unicamp-dl/InRanker-small", str(teacher)), {"passages": ["open a file", "close a socket"]})
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(("page", "target"), [
    (name, target)
    for name, text in PAGES.items()
    for target in re.findall(r"\]\(([^)#\s]+)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    if "://" not in target
])  # fmt: skip
def test_readme_links_lead_somewhere(page: str, target: str) -> None:
    assert (REPOSITORY / page).parent.joinpath(target).exists()


@pytest.mark.parametrize("test", re.findall(r"`(tests/[\w/]+\.py::\w+)`", README))
def test_readme_guarantee_has_its_test(test: str) -> None:
    file, _, name = test.partition("::")
    functions = ast.walk(ast.parse((REPOSITORY / file).read_text(encoding="utf-8")))
    assert name in {node.name for node in functions if isinstance(node, ast.FunctionDef)}


def test_readme_is_short_and_names_a_test_for_every_guarantee() -> None:
    assert len(README.splitlines()) <= 260
    table = README[README.index("## What is guaranteed") : README.index("## Beside the alternatives")]
    rows = [row for row in table.splitlines() if row.startswith("| ") and row != "| guarantee | test |"]
    assert len(rows) >= 10
    assert [row for row in rows if "`tests/" not in row] == []


def test_readme_shows_a_small_picture_of_a_report() -> None:
    picture = REPOSITORY / "docs" / "images" / "report.png"
    assert "](docs/images/report.png)" in README
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size < 150_000


def printed(document: str, name: str) -> tuple[dict[str, float], dict[str, float]]:
    """nDCG@10 of each system and the student's fidelity, from a pasted output of `distill.py`: rows and columns are
    those that a summary prints."""
    shown = re.search(rf"<!-- {name} -->\n```\n(.*?)```", document, re.DOTALL)
    assert shown is not None
    rows = {cells[0]: cells[1:] for cells in (re.findall(r"[^|\s]+", line) for line in shown[1].splitlines()) if cells}
    column = next(cells for cells in rows.values() if "nDCG@10" in cells).index("nDCG@10")
    figures = {system: float(rows[system][column]) for system in ("bm25", "teacher", "student_before", "student")}
    return figures, dict(zip(rows["fidelity"][::2], map(float, rows["fidelity"][1::2]), strict=True))


def test_readme_shows_the_quickstart_as_it_prints() -> None:
    """Its claims hold of its figures: the student is above BM25 and has what the teacher has."""
    figures, fidelity = printed(README, "quickstart")
    assert figures["student"] > figures["bm25"]
    assert figures["student"] >= 0.95 * figures["teacher"]
    assert figures["student"] > figures["student_before"]
    assert fidelity["mse"] <= min(fidelity["mse_before"], fidelity["mse_constant"]) / 2
    assert fidelity["kendall_tau"] >= 0.3


def test_recipes_show_a_student_from_scratch_as_it_prints() -> None:
    """Its claims hold of its figures: the student's error is less than half of any that needs no training."""
    figures, fidelity = printed((REPOSITORY / "pipelines" / "recipes" / "README.md").read_text(), "from-scratch")
    assert figures["student"] > figures["student_before"]
    assert fidelity["mse"] <= min(fidelity["mse_before"], fidelity["mse_constant"]) / 2
    assert fidelity["kendall_tau"] >= 0.3
