"""The notebooks execute, each in a kernel of its own, from the first cell to the last; what they keep is small.

Here they run on a recipe of a few updates and a language model with random weights: their parameters cell is followed
by one with other values, and the two longest run under `make test-all` only. There, all run as a reader runs them, too.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.builders import make_causal
from tests.conftest import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
KEPT_BYTES = 200_000  # of a notebook with its outputs: plots are small and logs are not kept
SECONDS = 300
TEACHER = "{output}/teacher/student"


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def with_parameters(notebook: Any, values: dict[str, object]) -> Any:
    """The notebook with a cell of other values after its parameters, as papermill does it."""
    place = next(n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    source = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    for name in values:
        assert f"\n{name} = " in f"\n{notebook.cells[place].source}", f"{name} is no parameter"
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(source))
    return notebook


def execute(notebook: Any, seconds: int = SECONDS) -> str:
    """What it printed."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(notebook, timeout=seconds, resources={"metadata": {"path": str(REPOSITORY / "notebooks")}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")


@pytest.fixture(scope="module")
def ray_address(ray_session: None) -> Any:
    """Kernels use the tests' own Ray in place of starting one each."""
    import ray

    before = os.environ.get("RAY_ADDRESS")
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    yield
    os.environ.pop("RAY_ADDRESS") if before is None else os.environ.update(RAY_ADDRESS=before)


@pytest.fixture(scope="module")
def quickstart(small_pipeline: Path, ray_address: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Notebook 1 on a small recipe that has been run: its output, which others read, and what it printed."""
    output = tmp_path_factory.mktemp("quickstart") / "out"
    shutil.copytree(small_pipeline / "out", output)
    values = {
        "RECIPE": str(small_pipeline / "recipe.yaml"),
        "COLLECTION": f"beir:{small_pipeline / 'collection'}",
        "OUTPUT": str(output),
    }
    return output, execute(with_parameters(read(named("1_")), values))


def named(start: str) -> Path:
    return next(path for path in NOTEBOOKS if path.name.startswith(start))


def test_notebook_quickstart(quickstart: tuple[Path, str]) -> None:
    output, printed = quickstart
    assert (output / "summary.json").is_file()
    assert "student_before" in printed and "of the teacher's nDCG@10" in printed
    assert [line.split()[0] for line in printed.splitlines() if " content " in line] == ["train", "label", "mine"]


@pytest.mark.slow
def test_notebook_your_own_corpus(quickstart: tuple[Path, str], tmp_path: Path) -> None:
    output = quickstart[0]
    model = make_causal(tmp_path / "model", output / "vocabulary" / "tokenizer")
    values = {
        "MODEL": str(model),
        "GGUF_FILE": None,
        "TEACHER": TEACHER.format(output=output),
        "START": str(output / "student" / "student"),
        "OUTPUT": str(tmp_path / "out"),
        "PASSAGES": 6,
        "STEPS": 3,
    }
    printed = execute(with_parameters(read(named("2_")), values))
    assert "judged by hand: 10 of 10" in printed
    assert "'prompts': 6" in printed and "Kendall's tau" in printed


def test_notebook_reading_labels(quickstart: tuple[Path, str]) -> None:
    printed = execute(with_parameters(read(named("3_")), {"LABELS": str(quickstart[0] / "labels")}))
    assert "area under the curve" in printed and "above every positive" in printed


def test_notebook_the_paper_and_the_miniature(tmp_path: Path) -> None:
    compared = {"comparison": "soft - hard", "group": "out", "difference": 0.1, "low": 0.05, "high": 0.2, "p": 0.01}
    figures = {
        "command": "python pipelines/distill.py some.yaml",
        "measure": "nDCG@10",
        "table": "the table of arms",
        "averages": {"out": {"hard": 0.3, "soft": 0.4}, "in": {"soft": 0.5}},
        "primary": compared,
        "comparisons": [{**compared, "comparison": "soft - bm25"}, {**compared, "group": "in"}],
    }
    (tmp_path / "miniature.json").write_text(json.dumps(figures))
    (tmp_path / "portuguese.json").write_text(json.dumps({**figures, "command": "python distill.py other.yaml"}))
    printed = execute(with_parameters(read(named("4_")), {"FIGURES": str(tmp_path)}))
    for figure in ("0.4125", "0.4356", "0.4807", "0.4638", "0.4870", "0.5008", "0.5174"):
        assert printed.count(figure) >= 2  # as the paper states it, and as it follows from its sets
    assert "some.yaml\n\nnDCG@10\n" in printed and "other.yaml" in printed
    assert printed.count("the table of arms") == 2


@pytest.mark.slow
def test_notebook_portuguese(quickstart: tuple[Path, str], tmp_path: Path) -> None:
    values = {
        "TEACHER": TEACHER.format(output=quickstart[0]),
        "OUTPUT": str(tmp_path / "out"),
        "SHARED": str(tmp_path),
        "STEPS": 3,
    }
    printed = execute(with_parameters(read(named("5_")), values))
    assert "'▁não'" in printed and "refused: " in printed and "text_from  pt" in printed


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_says_what_it_shows_and_keeps_small_outputs_without_errors(path: Path) -> None:
    notebook = read(path)
    opening = notebook.cells[0].source
    assert "**What you will see.**" in opening and "**How long.**" in opening
    prose = [line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    assert not [line for line in prose if line.startswith(("# #", "# **"))], "a whole paragraph would be a heading"
    assert len([line for line in prose if line.startswith("# ")]) == 1, "one title"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    assert counts in (list(range(1, len(code) + 1)), [None] * len(code)), "keep the outputs of a clean kernel, or none"
    kept = [output for cell in code for output in cell.outputs]
    assert not [output for output in kept if output.output_type == "error"]
    assert not [output for output in kept if output.get("name") == "stderr"], "a log is kept"
    assert path.stat().st_size < KEPT_BYTES


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_at_full_size(path: Path) -> None:
    """As a reader runs it, in this order; a finished quickstart is taken as it is."""
    assert execute(read(path), seconds=3600)
