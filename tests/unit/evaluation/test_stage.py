"""The evaluate stage on a tiny collection with tiny random rerankers, and on SciFact."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest

from inranker.errors import UserError
from inranker.evaluation.config import EvaluateConfig, EvaluateExecution, EvaluateIdentity
from inranker.evaluation.stage import evaluate
from inranker.manifest import read_manifest, verify_shards
from inranker.rerankers import load_reranker
from inranker.rerankers.create import T5Shape, create_t5
from inranker.rerankers.vocabulary import train_vocabulary
from inranker.retrieval import read_run, write_run
from inranker.storage import Store

ANIMALS = ["fox", "dog", "cat", "owl", "bee", "ant", "elk", "hen"]
PLACES = ["forest", "river", "meadow", "barn"]
QUIET = EvaluateExecution(device="cpu", progress=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of 32 passages and 8 queries in BEIR's layout, and two rerankers: `teacher` and `student`."""
    folder = tmp_path_factory.mktemp("tiny")
    passages = {f"{animal}-{place}": f"The {animal} lives in the {place}." for animal in ANIMALS for place in PLACES}
    corpus = [{"_id": id_, "title": id_.split("-")[0], "text": text} for id_, text in passages.items()]
    queries = [{"_id": f"q-{animal}", "text": f"which {animal} lives near a barn"} for animal in ANIMALS]
    (folder / "qrels").mkdir()
    for name, records in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    judgments = "".join(f"q-{animal}\t{animal}-river\t1\n" for animal in ANIMALS)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judgments)
    train_vocabulary(passages.values(), 80, folder / "vocabulary")
    shape = T5Shape(16, 32, 8, 2, 1, 1)
    for seed, name in enumerate(["teacher", "student", "student_before"]):
        create_t5(shape, folder / "vocabulary", seed, folder / name)
    return folder


def config(tiny: Path, systems: list[str], output: Path | None = None, **identity: Any) -> EvaluateConfig:
    chosen = EvaluateIdentity(f"beir:{tiny}", systems=systems, **{"depth": 5, "retrieve": 20, **identity})
    return EvaluateConfig(chosen, str(output) if output else None, QUIET)


def test_first_stage_alone_needs_no_output(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    summary = evaluate(config(tiny, ["bm25"]))
    assert list(tmp_path.iterdir()) == []
    assert (summary["collection"], summary["split"], summary["depth"]) == (f"beir/{tiny.name}", "test", 5)
    assert summary["queries"] == 8 and not summary["skipped"]
    # The word "barn" lifts another passage of the same animal to the top; the judged one ties with two others.
    assert 0.2 < summary["systems"]["bm25"]["RR@10"] < 1
    assert summary["systems"]["bm25"]["R@100"] == 1
    assert summary["table"].splitlines()[2].startswith("| bm25   | ")


def test_run_files_measure_as_the_summary_says(tiny: Path, tmp_path: Path) -> None:
    systems = ["bm25", f"student={tiny / 'student'}", str(tiny / "teacher")]
    summary = evaluate(config(tiny, systems, tmp_path / "out"))
    assert list(summary["systems"]) == ["bm25", "student", str(tiny / "teacher")]
    manifest = read_manifest(Store(str(tmp_path / "out")))
    verify_shards(Store(str(tmp_path / "out")), manifest)
    runs = [shard.name for shard in manifest.shards if shard.name.startswith("runs/")]
    assert runs[:2] == ["runs/bm25.trec", "runs/student.trec"] and len(runs) == 3
    qrels = [ir_measures.Qrel(f"q-{animal}", f"{animal}-river", 1) for animal in ANIMALS]
    for (name, values), file in zip(summary["systems"].items(), runs, strict=True):
        from_file = ir_measures.calc_aggregate(
            [ir_measures.parse_measure(measure) for measure in values],
            qrels,
            ir_measures.read_trec_run(str(tmp_path / "out" / file)),
        )
        assert {str(measure): value for measure, value in from_file.items()} == pytest.approx(values), name


def test_reranked_run_follows_the_rerankers_own_scores(tiny: Path, tmp_path: Path) -> None:
    evaluate(config(tiny, ["bm25", f"student={tiny / 'student'}"], tmp_path / "out"))
    first, second = (read_run(tmp_path / "out" / "runs" / f"{name}.trec") for name in ("bm25", "student"))
    reranker = load_reranker(tiny / "student")
    for query_id, docs in first.items():
        head = [doc.passage_id for doc in docs[:5]]
        query = f"which {query_id[2:]} lives near a barn"
        texts = [f"{id_.split('-')[0]} The {id_.split('-')[0]} lives in the {id_.split('-')[1]}." for id_ in head]
        scores = reranker.score([query] * 5, texts)
        expected = [head[index] for index in np.argsort(-scores, kind="stable")]
        assert [doc.passage_id for doc in second[query_id]] == expected + [doc.passage_id for doc in docs[5:]]


def test_per_query_values_average_to_the_summary(tiny: Path, tmp_path: Path) -> None:
    summary = evaluate(config(tiny, ["bm25", f"student={tiny / 'student'}"], tmp_path / "out"))
    lines = (tmp_path / "out" / "per_query.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == 2 * 8
    for name, values in summary["systems"].items():
        for measure, mean in values.items():
            own = [record[measure] for record in records if record["system"] == name]
            assert np.mean(own) == pytest.approx(mean)


def test_fidelity_of_the_student_and_of_every_system(tiny: Path) -> None:
    systems = [f"{name}={tiny / name}" for name in ("teacher", "student_before", "student")]
    summary = evaluate(config(tiny, ["bm25", *systems], teacher="teacher"))
    figures = summary["fidelity"]
    assert set(figures) == {"mse", "mse_before", "mse_constant", "kendall_tau", "rank_flips", "top_1", "ndcg_10"}
    assert figures["mse_before"] == summary["fidelity_by_system"]["student_before"]["mse"] != figures["mse"]
    assert figures["mse"] == summary["fidelity_by_system"]["student"]["mse"]
    assert summary["pairs"] == 8 * 5
    json.dumps(summary, allow_nan=False)


def test_every_reranker_cuts_pairs_as_the_evaluation_says(tiny: Path, tmp_path: Path) -> None:
    systems, words = [f"student={tiny / 'student'}"], {"max_length": 12, "truncation": "legacy-inference"}
    evaluate(config(tiny, systems, tmp_path / "own", max_length=12))
    told = evaluate(config(tiny, systems, tmp_path / "told", **words))
    own, other = (read_run(tmp_path / name / "runs" / "student.trec") for name in ("own", "told"))
    reranker = load_reranker(tiny / "student", **words)
    query, docs = "which fox lives near a barn", other["q-fox"][:5]
    texts = [
        f"{animal} The {animal} lives in the {place}." for animal, place in (d.passage_id.split("-") for d in docs)
    ]
    assert [doc.score for doc in docs] == pytest.approx(reranker.score([query] * 5, texts).tolist(), abs=1e-5)
    assert [doc.score for doc in docs] != pytest.approx([doc.score for doc in own["q-fox"][:5]], abs=1e-5)
    assert not evaluate(config(tiny, systems, tmp_path / "again", **words))["skipped"] and not told["skipped"]
    with pytest.raises(UserError, match="truncation"):
        evaluate(config(tiny, systems, tmp_path / "own", **words))


def test_a_teachers_copy_is_perfectly_faithful(tiny: Path) -> None:
    systems = [f"teacher={tiny / 'teacher'}", f"copy={tiny / 'teacher'}"]
    summary = evaluate(config(tiny, systems, teacher="teacher"))
    assert summary["fidelity"]["kendall_tau"] == pytest.approx(1) and summary["fidelity"]["rank_flips"] == 0
    assert summary["systems"]["teacher"] == summary["systems"]["copy"]


def test_comparison_with_a_baseline(tiny: Path) -> None:
    systems = ["bm25", f"student={tiny / 'student'}", f"teacher={tiny / 'teacher'}"]
    summary = evaluate(config(tiny, systems, baseline="bm25", compare_by="RR@10", resamples=200))
    found = summary["comparison"]
    assert found["baseline"] == "bm25" and set(found["systems"]) == {"student", "teacher"}
    for name, row in found["systems"].items():
        difference = summary["systems"][name]["RR@10"] - summary["systems"]["bm25"]["RR@10"]
        assert row["difference"] == pytest.approx(difference)
        assert row["low"] <= difference <= row["high"]
        assert row["wins"] + row["ties"] + row["losses"] == 8
        assert row["better"] == ("yes" if row["low"] > 0 else "no" if row["high"] < 0 else "unclear")
        assert len(row["worst"]) == row["losses"]
        assert all(worst["query"].startswith("which ") for worst in row["worst"])
    assert "RR@10 against bm25" in summary["table"]
    json.dumps(summary, allow_nan=False)


def test_depth_curve_is_what_evaluating_at_each_depth_gives(tiny: Path) -> None:
    systems = ["bm25", f"student={tiny / 'student'}"]
    curve = evaluate(config(tiny, systems, depths=[1, 3]))["depth_curve"]["student"]
    assert list(curve) == ["1", "3", "5"]
    for depth, values in curve.items():
        alone = evaluate(config(tiny, systems, depth=int(depth)))["systems"]
        assert alone["student"] == pytest.approx(values)
        if depth == "1":
            assert alone["student"] == alone["bm25"]


def test_second_time_nothing_is_computed(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = config(tiny, ["bm25", f"student={tiny / 'student'}"], tmp_path / "out")
    first = evaluate(chosen)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("computed although the output is complete")

    for name in ("prepare", "score_system", "write_output"):
        monkeypatch.setattr(f"inranker.evaluation.stage.{name}", refuse)
    again = evaluate(dataclasses.replace(chosen, execution=EvaluateExecution(token_budget=64, progress=False)))
    assert again == {**first, "skipped": True}


def test_an_interrupted_job_is_done_again(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = config(tiny, ["bm25", f"student={tiny / 'student'}"], tmp_path / "out")

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("inranker.evaluation.output.write_manifest", die)
        evaluate(chosen)
    assert (tmp_path / "out" / "summary.json").exists()
    summary = evaluate(chosen)
    assert not summary["skipped"] and summary["systems"] == evaluate(config(tiny, chosen.identity.systems))["systems"]
    verify_shards(Store(str(tmp_path / "out")), read_manifest(str(tmp_path / "out")))


def test_output_may_be_any_store(tiny: Path) -> None:
    chosen = dataclasses.replace(config(tiny, ["bm25"]), output="memory://evaluation/out")
    first = evaluate(chosen)
    assert evaluate(chosen) == {**first, "skipped": True}
    manifest = read_manifest("memory://evaluation/out")
    assert [shard.name for shard in manifest.shards] == ["runs/bm25.trec", "per_query.jsonl", "summary.json"]
    assert manifest.inputs["collection"]["name"] == f"beir/{tiny.name}"


def test_another_identity_is_refused_with_the_field(tiny: Path, tmp_path: Path) -> None:
    evaluate(config(tiny, ["bm25"], tmp_path / "out"))
    with pytest.raises(UserError, match="depth: 5 -> 6"):
        evaluate(config(tiny, ["bm25"], tmp_path / "out", depth=6))


def test_a_changed_model_is_another_identity_and_a_moved_one_is_not(tiny: Path, tmp_path: Path) -> None:
    create_t5(T5Shape(16, 32, 8, 2, 1, 1), tiny / "vocabulary", 7, tmp_path / "model")
    evaluate(config(tiny, [f"model={tmp_path / 'model'}"], tmp_path / "out"))
    (tmp_path / "model").rename(tmp_path / "moved")
    assert evaluate(config(tiny, [f"model={tmp_path / 'moved'}"], tmp_path / "out"))["skipped"]
    create_t5(T5Shape(16, 32, 8, 2, 1, 1), tiny / "vocabulary", 8, tmp_path / "moved")
    with pytest.raises(UserError, match="weights_sha256"):
        evaluate(config(tiny, [f"model={tmp_path / 'moved'}"], tmp_path / "out"))


def test_a_given_run_is_the_first_stage(tiny: Path, tmp_path: Path) -> None:
    evaluate(config(tiny, ["bm25"], tmp_path / "out", retrieve=10))
    run = read_run(tmp_path / "out" / "runs" / "bm25.trec")
    del run["q-fox"]
    write_run(tmp_path / "given.trec", {**run, "unjudged": run["q-dog"]}, "mine")
    summary = evaluate(config(tiny, ["bm25", str(tiny / "student")], run=str(tmp_path / "given.trec")))
    assert summary["queries"] == 8 and summary["pairs"] == 7 * 5
    whole = evaluate(config(tiny, ["bm25"], retrieve=10))
    per_query = 8 * whole["systems"]["bm25"]["R@100"] - 8 * summary["systems"]["bm25"]["R@100"]
    assert per_query == pytest.approx(1)  # the query that the run lacks counts as 0


def test_sample_of_queries_is_fixed(tiny: Path, tmp_path: Path) -> None:
    picked = []
    for limit in (3, 4):
        evaluate(config(tiny, ["bm25"], tmp_path / str(limit), max_queries=limit))
        picked.append(set(read_run(tmp_path / str(limit) / "runs" / "bm25.trec")))
    assert [len(ids) for ids in picked] == [3, 4] and picked[0] < picked[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"systems": []}, "none given"),
        ({"systems": ["bm25", "x=", "y"]}, "'x='"),
        ({"systems": ["a=bm25", "a=bm25"]}, "'a' is used twice"),
        ({"systems": ["bm25=out/model"]}, "first stage itself"),
        ({"systems": ["bm25", "no/such/model"]}, "no/such/model"),
        ({"systems": ["bm25"], "measures": ["nDGC@10"]}, "nDGC@10"),
        ({"systems": ["bm25"], "depth": 0}, "depth is 0"),
        ({"systems": ["bm25"], "retriever": "grep"}, "'grep' is unknown"),
        ({"systems": ["bm25"], "teacher": "bm25"}, "'bm25' is no reranker"),
        ({"systems": ["bm25", "t=x"], "teacher": "t"}, "only reranker"),
        ({"systems": ["bm25"], "split": "nowhere"}, "nowhere"),
        ({"systems": ["bm25"], "baseline": "x"}, "'x' is none of `systems`"),
        ({"systems": ["bm25"], "baseline": "bm25", "compare_by": "P@5"}, "'P@5' is none of `measures`"),
        ({"systems": ["bm25"], "depths": [3, 6]}, "depths: 6"),
    ],
)
def test_bad_values_are_one_sentence_and_write_nothing(
    tiny: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    systems = change.pop("systems")
    with pytest.raises(UserError, match=message) as caught:
        evaluate(config(tiny, systems, tmp_path / "out", **change))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [("other Q0 fox-barn 1 1.0 t\n", "none of the 8 queries"), ("q-fox Q0 nowhere 1 1.0 t\n", "'nowhere'")],
)
def test_a_run_of_another_collection_is_refused(tiny: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.trec").write_text(text)
    with pytest.raises(UserError, match=message):
        evaluate(config(tiny, [str(tiny / "student")], tmp_path / "out", run=str(tmp_path / "run.trec")))
    assert not (tmp_path / "out").exists()


def test_progress_goes_to_standard_error(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = dataclasses.replace(
        config(tiny, [f"student={tiny / 'student'}"]), execution=EvaluateExecution(device="cpu", progress=True)
    )
    evaluate(chosen)
    captured = capsys.readouterr()
    assert "student: 100%" in captured.err and "pair/s" in captured.err and captured.out == ""


def test_scifact_bm25_is_the_published_one(shared_dir: Path) -> None:
    chosen = EvaluateIdentity(f"beir:{shared_dir / 'collections' / 'scifact'}", measures=["nDCG@10", "R@100"])
    bm25 = evaluate(EvaluateConfig(chosen, None, QUIET))["systems"]["bm25"]
    assert 0.675 <= bm25["nDCG@10"] <= 0.682
    assert bm25["R@100"] >= 0.92
