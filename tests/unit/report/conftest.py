"""Finished jobs whose reports are looked at; texts attack the pages that show them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inranker.evaluation.averages import AverageConfig
from inranker.evaluation.config import EvaluateConfig, EvaluateExecution, EvaluateIdentity
from inranker.evaluation.interpolation import Interpolation
from inranker.evaluation.stage import evaluate
from inranker.fingerprint import fingerprint
from inranker.labeling.config import LabelConfig, LabelIdentity
from inranker.labeling.rows import from_parquet, quarantine_table, to_parquet
from inranker.manifest import Manifest, read_manifest, read_shard, to_json, write_manifest
from inranker.mining import MineConfig, MineExecution, MineIdentity, mine
from inranker.report.card import write_card
from inranker.report.job import REPORT
from inranker.storage import Store
from inranker.synthesis.config import SynthesizeConfig, SynthesizeIdentity
from inranker.training.agreement import write_agreement
from inranker.training.config import TrainConfig, TrainExecution, TrainIdentity
from inranker.training.custody import find_source
from inranker.training.job import Job, Place
from inranker.training.meter import METRICS
from inranker.training.student import start_identity
from inranker.training.worker import run
from inranker.types import Passage
from inranker.units import Receipt, plan_units, put_object, receipt_name
from tests.builders import make_pairs, make_t5, make_tokenizer, pair_rows
from tests.unit.beir_folder import many_passages, write_beir
from tests.unit.report.pages import ATTACK
from tests.unit.synthesis.raw_queries import make_synthesis, random_words
from tests.unit.training.labels import make_labels
from tests.unit.training.test_worker import NoHooks

QRELS = [("q0", "d1", 1), ("q0", "d9", 2), ("q1", "d5", 1), ("q1", "hidden", 1)]


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> LabelConfig:
    """Two hundred labelled pairs with receipts a second apart; five pairs are quarantined; texts attack the page."""
    folder = tmp_path_factory.mktemp("report")
    rows = pair_rows(200)
    for row in rows:
        row["passage"] = f"{row['passage']} {ATTACK}"
        row["query"] = f"{row['query']} {ATTACK}"
    pairs = make_pairs(folder / "pairs", rows, shard_rows=80)
    labels = make_labels(folder / "labels", pairs, quarantined=5)
    store = Store(str(labels))
    shards = read_manifest(store).shards
    for number, unit in enumerate(plan_units(read_manifest(str(pairs)).shards, 1000)):
        ids = from_parquet(read_shard(store, shards[number])).select(["row", "query_id", "passage_id"])
        lost = unit.rows - shards[number].rows
        stored = quarantine_table(ids.slice(0, lost), ["logits are not finite"] * lost)
        quarantine = put_object(store, "quarantine", unit, lost, to_parquet(stored), ".parquet") if lost else None
        figures = {"tokens": 1000, "seconds": 0.5, "finished_at": 1e9 + number}
        receipt = Receipt(unit.name, "f", unit.rows, shards[number], quarantine, figures)
        store.write(receipt_name(unit.name), to_json(receipt))
    return LabelConfig(LabelIdentity(str(pairs), "t"), str(labels))


@pytest.fixture(scope="session")
def mined(tmp_path_factory: pytest.TempPathFactory) -> MineConfig:
    """A finished job: two queries, four positives of which the first stage cannot find one; a passage with markup."""
    folder = tmp_path_factory.mktemp("mine")
    passages = [*many_passages(60), {"_id": "hidden", "text": f"unrelated {ATTACK}"}]
    queries = [{"_id": "q0", "text": "alpha papa"}, {"_id": "q1", "text": f"bravo papa {ATTACK[:8]}"}]
    collection = write_beir(folder / "set", passages, queries, train=QRELS)
    config = MineConfig(
        MineIdentity(f"beir:{collection}", negatives_per_positive=3, shard_rows=7),
        str(folder / "pairs"),
        MineExecution(progress=False),
    )
    assert mine(config)["report"] == f"{folder}/pairs/{REPORT}"
    return config


@pytest.fixture(scope="session")
def synthesized(tmp_path_factory: pytest.TempPathFactory) -> SynthesizeConfig:
    """A finished synthesis of sixty queries for twelve passages, by two filters, at a price; texts attack the page."""
    folder = tmp_path_factory.mktemp("synthesized")
    bodies = [f"{text} {ATTACK}" for text in random_words(12, 60, seed=3)]
    argument = f"beir:{write_beir(folder / 'set', [{'_id': f'p{n}', 'text': text} for n, text in enumerate(bodies)])}"
    made = [
        (Passage(f"p{n}", text), f"what is {' '.join(text.split()[k : k + 3])}?")
        for n, text in enumerate(bodies)
        for k in (5, 9, 20)
    ]
    made += [(Passage(f"p{n}", text), text.split()[0]) for n, text in enumerate(bodies)]
    made += [(Passage(f"p{n}", text), f"{ATTACK} is odd, {n}.") for n, text in enumerate(bodies)]
    cost = {"tokens": 60_000, "generated_tokens": 900, "generating_seconds": 75.0, "spent": 1.25}
    output = make_synthesis(folder / "out", argument, made, "length", "round_trip", figures=cost)
    return SynthesizeConfig(SynthesizeIdentity(argument, "m"), str(output))


@pytest.fixture(scope="session")
def charted(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """What a long training job leaves behind for its report, made by hand: the page is what is tried."""
    config = TrainConfig(TrainIdentity(ATTACK), str(tmp_path_factory.mktemp("charted")))
    store, generator = Store(config.output), np.random.default_rng(0)
    lines: list[dict[str, Any]] = [
        {
            "step": step,
            "loss": 40 / step,
            "delta": 39 / step,
            "s": 1 / step,
            "learning_rate": 7e-5,
            "pairs_per_second": 9,
        }
        for step in range(10, 400_001, 100)
    ]
    lines += [{"step": step, "dev_nDCG@10": 0.3 + step / 4e6} for step in range(500, 400_001, 5000)]
    store.write(METRICS, "".join(json.dumps(line) + "\n" for line in lines).encode())
    teacher = generator.normal(0, 5, (256, 2))
    sample = {"student": (teacher + generator.normal(0, 1, (256, 2))).tolist(), "teacher": teacher.tolist()}
    write_agreement(config.output, 400_000, {**sample, "positive": (teacher[:, 1] > 5).tolist()})
    told = {"loss": "mse", "start": {"weights_sha256": "0" * 64, "name": ATTACK}}
    figures = {"steps": 400_000, "pairs": 12_800_000, "parameters": 60_506_624, "dev": 0.4, "saved_step": 390_000}
    inputs = {"labels": {"path": f"s3://bucket/{'long/' * 40}", "content_hash": "f" * 64, "teacher": {"path": ATTACK}}}
    write_manifest(store, Manifest("train", fingerprint(told), told, inputs, figures=figures))
    return config


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, alone: Any) -> TrainConfig:
    """A finished job of thirty updates, without Ray."""
    folder = tmp_path_factory.mktemp("trained")
    start = make_t5(folder / "start", make_tokenizer(folder / "tokenizer"), seed=3)
    labels = make_labels(folder / "labels", make_pairs(folder / "pairs", pair_rows(60)), scale=0.02)
    identity = TrainIdentity(start=str(start), labels=str(labels), steps=30, learning_rate=3e-3, dropout=0.0)
    config = TrainConfig(identity, str(folder / "out"), TrainExecution(log_every=1, cache=str(folder / "cache")))
    source, store = find_source(identity), Store(config.output)
    with alone():
        figures = run(Job(identity, config.execution, source, config.output, False, 1), Place(), NoHooks())
    told: dict[str, Any] = {"loss": identity.loss, "batch_size": 32, "start": start_identity(identity), "dev": None}
    inputs = {**source.inputs, "start": {"path": identity.start, "content": "c"}}
    write_card(store, "student", told, inputs, figures)
    write_manifest(store, Manifest("train", fingerprint(told), told, inputs, figures=figures))
    return config


def make_evaluation(folder: Path, name: str, student: Path) -> EvaluateConfig:
    """A finished evaluation of a set of that name with everything that a page can show; texts attack it."""
    passages = many_passages(60)
    passages[0]["text"] = f"{ATTACK} {passages[0]['text']}"
    queries = [{"_id": f"q{n}", "text": f"{' '.join(passages[n]['text'].split()[-3:])} {ATTACK}"} for n in range(20)]
    collection = write_beir(folder / name, passages, queries, test=[(f"q{n}", f"d{n}", 1) for n in range(20)])
    verdict = {"query_id": "q0", "passage_id": "d59", "grade": 1, "judge": ATTACK}
    (folder / f"{name}.jsonl").write_text(json.dumps(verdict) + "\n")
    identity = EvaluateIdentity(
        f"beir:{collection}",
        systems=["bm25", f"teacher<b>={student}", f"student of a rather long name={student}"],
        teacher="teacher<b>",
        depth=40,
        depths=[10, 20],
        interpolation=Interpolation("folds", folds=2),
        condensed=True,
        verdicts=[str(folder / f"{name}.jsonl")],
        resamples=200,
    )
    config = EvaluateConfig(identity, str(folder / f"{name}-out"), EvaluateExecution("cpu", progress=False))
    assert evaluate(config)["report"] == f"{config.output}/{REPORT}"
    return config


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> EvaluateConfig:
    """A finished evaluation on a set that the paper does not have."""
    return make_evaluation(tmp_path_factory.mktemp("evaluated"), "insects", teacher)


@pytest.fixture(scope="session")
def averaged(tmp_path_factory: pytest.TempPathFactory, teacher: Path, evaluated: EvaluateConfig) -> AverageConfig:
    """Two evaluations to average, one of a set that the paper has."""
    folder = tmp_path_factory.mktemp("averaged")
    other = make_evaluation(folder, "scifact", teacher)
    outputs = [str(evaluated.output), str(other.output)]
    return AverageConfig(outputs, in_domain=["scifact"], output=str(folder / "average"))
