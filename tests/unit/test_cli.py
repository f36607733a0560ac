"""Stage scripts as others script against them: exit codes, one sentence, `--json`, nothing half-written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STAGES = ("mine", "label", "train", "evaluate", "distill")


def run(repository: Path, stage: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    script = str(repository / "pipelines" / f"{stage}.py")
    environment = {**os.environ, "RAY_ADDRESS": "", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, script, *words], cwd=cwd, env=environment, capture_output=True, text=True)


def write_collection(folder: Path, **changed: str) -> Path:
    """A tiny BEIR directory, with some files' text replaced."""
    files = {
        "corpus": '{"_id": "d1", "title": "", "text": "a cat"}\n{"_id": "d2", "title": "", "text": "a dog"}\n',
        "queries": '{"_id": "q1", "text": "cat"}\n',
        "qrels": "query-id\tcorpus-id\tscore\nq1\td1\t1\n",
    } | changed
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(files["corpus"])
    (folder / "queries.jsonl").write_text(files["queries"])
    (folder / "qrels" / "test.tsv").write_text(files["qrels"])
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_help_explains_and_exits_with_0(repository: Path, tmp_path: Path, stage: str) -> None:
    result = run(repository, stage, "--help", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "--recipe" in result.stdout and "--json" in result.stdout and "--output" in result.stdout
    assert f"pipelines/{stage}.py" in result.stdout


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"corpus": '{"_id": "d1", "title": ""}\n'}, "corpus.jsonl"),
        ({"corpus": '{"_id": "d1", "text": "a"}\n{"_id": "d1", "text": "b"}\n'}, "d1"),
        ({"queries": '{"_id": "q1", "text": " "}\n'}, "without text"),
        ({"qrels": "query-id\tcorpus-id\tscore\nq1\tnowhere\t1\n"}, "nowhere"),
        ({"qrels": "query-id\tcorpus-id\tscore\n"}, "test"),
    ],
)
def test_a_bad_collection_is_one_sentence_and_exit_code_2(
    repository: Path, tmp_path: Path, changed: dict[str, str], said: str
) -> None:
    folder = write_collection(tmp_path / "collection", **changed)
    words = ("--collection", f"beir:{folder}", "--split", "test", "--output", str(tmp_path / "out"))
    result = run(repository, "mine", *words, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    sentence = result.stderr.strip().splitlines()[-1]
    assert sentence.startswith("error: ") and said in sentence
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("stage", "words", "said"),
    [
        ("mine", ["--collection", "beir:nowhere", "--output", "out"], "nowhere"),
        ("mine", ["--collection", "python-docs"], "output"),
        ("evaluate", ["--collection", "python-docs", "--depht", "3"], "--depht"),
        ("evaluate", ["--collection", "python-docs", "--depth", "ten"], "depth"),
        ("label", ["--pairs", "nowhere", "--teacher", "nothing", "--output", "out"], "nowhere"),
        ("train", ["--start", "nothing", "--steps", "3", "--output", "out"], "labels"),
        ("distill", ["nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_a_wrong_command_is_one_sentence_and_exit_code_2(
    repository: Path, tmp_path: Path, stage: str, words: list[str], said: str
) -> None:
    result = run(repository, stage, *words, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert said in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_summary_goes_to_a_file_and_the_table_to_a_person(repository: Path, tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "collection")
    words = ("--collection", f"beir:{folder}", "--split", "test", "--systems", "bm25", "--depth", "1000")
    result = run(repository, "evaluate", *words, "--json", "new/folder/figures.json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "new" / "folder" / "figures.json").read_text())
    assert summary["systems"]["bm25"]["nDCG@10"] == 1.0
    assert "bm25" in result.stdout and "nDCG@10" in result.stdout


def test_a_pipeline_stays_one_screen(repository: Path) -> None:
    for script in (repository / "pipelines").glob("*.py"):
        assert len(script.read_text().splitlines()) < 80, script


def test_importing_the_package_brings_neither_ray_nor_torch(repository: Path) -> None:
    program = (
        "import sys, inranker, inranker.mining, inranker.evaluation.stage, inranker.config, inranker.rerankers; "
        "sys.exit(sum(name in sys.modules for name in ('ray', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=repository).returncode == 0
