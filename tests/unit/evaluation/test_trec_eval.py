"""Figures of an evaluation are those of trec_eval itself and of `ir_measures`, on the run files that it wrote."""

import random
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from inranker.evaluation.config import EvaluateConfig, EvaluateExecution, EvaluateIdentity
from inranker.evaluation.interpolation import Interpolation
from inranker.evaluation.stage import evaluate
from tests.unit.beir_folder import many_passages, write_beir

BINARY = "trec_eval/trec_eval-linux-amd64"  # as it lies in pyserini's jar
# Ours -> trec_eval's options and name. Its reciprocal rank has a cutoff only by the length of the run.
TREC_EVAL = {
    "nDCG@10": (["-m", "ndcg_cut.10"], "ndcg_cut_10"),
    "R@100": (["-m", "recall.100"], "recall_100"),
    "AP": (["-m", "map"], "map"),
    "RR@10": (["-M", "10", "-m", "recip_rank"], "recip_rank"),
}


@pytest.fixture(scope="module")
def trec_eval(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = find_spec("pyserini")
    if spec is None or spec.origin is None or sys.platform != "linux":
        pytest.skip("trec_eval's binary comes with the extra 'lucene' (pyserini), for Linux")
    (jar,) = Path(spec.origin).parent.glob("resources/jars/anserini-*.jar")
    folder = tmp_path_factory.mktemp("trec_eval")
    with zipfile.ZipFile(jar) as archive:
        path = Path(archive.extract(BINARY, folder))
    path.chmod(0o755)
    try:
        subprocess.run([path, "--version"], capture_output=True, check=True)
    except OSError as error:
        pytest.skip(f"trec_eval's binary does not run on this machine ({error})")
    return path


def test_run_files_measure_alike_to_four_decimals(trec_eval: Path, teacher: Path, tmp_path: Path) -> None:
    """Graded judgments, some of passages that no run has; ties in the first stage; a query that finds nothing."""
    drawn = random.Random(4)
    passages = many_passages(150)
    queries = [{"_id": f"q{n}", "text": " ".join(drawn.sample(passages[n]["text"].split(), 2))} for n in range(12)]
    queries.append({"_id": "q12", "text": "nothing of this"})
    judged = [(f"q{n}", f"d{d}", drawn.randint(0, 3)) for n in range(13) for d in sorted(drawn.sample(range(150), 20))]
    judged += [(f"q{n}", f"d{(n + 1) % 13}x", 1) for n in range(13)]
    passages += [{"_id": f"d{n}x", "text": "unlike all others"} for n in range(13)]
    collection = write_beir(tmp_path / "set", passages, queries, test=judged)
    identity = EvaluateIdentity(
        f"beir:{collection}",
        systems=["bm25", f"student={teacher}"],
        depth=50,
        interpolation=Interpolation("folds", folds=2),
        resamples=100,
    )
    config = EvaluateConfig(identity, str(tmp_path / "out"), EvaluateExecution("cpu", progress=False))
    systems = evaluate(config)["systems"]
    qrels = tmp_path / "qrels.txt"
    qrels.write_text("".join(f"{query} 0 {passage} {grade}\n" for query, passage, grade in judged))
    assert set(systems) == {"bm25", "student", "student+bm25"}
    for name, values in systems.items():
        run = tmp_path / "out" / "runs" / f"{name.replace('+', '_')}.trec"
        for measure, (options, theirs) in TREC_EVAL.items():
            told = subprocess.run([trec_eval, "-c", *options, qrels, run], capture_output=True, text=True, check=True)
            assert told.stdout.split() == [theirs, "all", f"{values[measure]:.4f}"], (name, measure)
        command = [str(Path(sys.executable).with_name("ir_measures")), str(qrels), str(run), *TREC_EVAL]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert dict(line.split() for line in lines) == {measure: f"{values[measure]:.4f}" for measure in TREC_EVAL}
        assert 0 < values["nDCG@10"] < 1
