"""The calibrate stage: a copy of a checkpoint whose `reranker.json` says what its scores are worth.

    python pipelines/calibrate.py --model out/student/student --collection beir:path/to/scifact --split train \\
        --output out/calibrated
    python pipelines/calibrate.py --model out/student/student --labels out/labels --method platt --output out/calibrated

OUTPUT/model is the calibrated checkpoint. Its order of passages is the old one.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from inranker.errors import UserError
from inranker.fingerprint import fingerprint, plain, sha256_bytes
from inranker.manifest import Manifest, Shard, claim_output, read_manifest, write_manifest
from inranker.storage import Store

from .calibration import fit, held_out, sigmoid

MODEL = "model"


@dataclass(frozen=True)
class CalibrateIdentity:
    """What the calibration depends on."""

    model: str
    """Checkpoint directory or hub id."""
    method: Literal["temperature", "platt", "isotonic"] = "platt"
    """platt: a scale and an offset; temperature: a scale alone; isotonic: any growing function, for many pairs."""
    collection: str | None = None
    """Judged collection: its first stage's candidates are the pairs, those judged relevant the positives."""
    split: str = "dev"
    """Which queries and qrels of the collection; never those that figures are reported on."""
    depth: int = 100
    """Candidates of a query."""
    labels: str | None = None
    """A labels directory instead of a collection: agreement with its teacher's P(true)."""
    max_queries: int | None = 500
    """A fixed sample of this many queries; null: all."""
    max_length: int | None = None
    """Tokens of a pair; null: the model's own."""


@dataclass(frozen=True)
class CalibrateExecution:
    """How the job is run."""

    device: str = "auto"
    """cuda, mps or cpu; auto takes the best that is here."""
    precision: str = "float32"
    """float32 or bfloat16."""
    threads: int | None = None
    """CPU threads; null: the cores that the process may use."""
    cache: str | None = None
    """Local directory that keeps first-stage indexes between jobs."""


@dataclass(frozen=True)
class CalibrateConfig:
    """Fit what a reranker's scores are worth and store it with a copy of the checkpoint."""

    identity: CalibrateIdentity
    """What the result depends on."""
    output: str
    """Local directory for the calibrated checkpoint (in `model/`) and the manifest."""
    execution: CalibrateExecution = field(default_factory=CalibrateExecution)
    """How the job is run."""


class Judged(NamedTuple):
    """Pairs whose relevance is known: `targets` in [0, 1]; `source` names them for people."""

    query_ids: list[str]
    pairs: list[tuple[str, str]]
    targets: np.ndarray
    source: str
    link: dict[str, Any]


def calibrate(config: CalibrateConfig) -> dict[str, Any]:
    """Score judged pairs, fit, and write the calibrated copy.

    Returns:
        `method`, `pairs`, `positives` (the sum of the targets), `before` and `after` (log loss, Brier score and
        expected calibration error on queries that the fit did not see), `calibration`, `model` (where the copy is).

    Raises:
        UserError: not exactly one of collection and labels, no such model, pairs that calibrate nothing, or an output
            made under another identity.
    """
    from inranker.rerankers import save_contract, scorer_identity
    from inranker.rerankers.checkpoint import local_path

    from .ranker import Ranker

    chosen, execution = config.identity, config.execution
    if (chosen.collection is None) == (chosen.labels is None):
        raise UserError("name a judged collection or a labels directory, one of the two")
    source = local_path(chosen.model)
    judged = _from_collection(config) if chosen.collection else _from_labels(chosen)
    scorer = scorer_identity(source, execution.precision, max_length=chosen.max_length)
    store = Store(config.output)
    folder = store.local_path()
    if folder is None:
        raise UserError(f"output {config.output}: a calibrated checkpoint goes to a local directory; name one")
    identity = {**plain(chosen), "model": fingerprint(scorer), "pairs": judged.link}
    if claim_output(store, "calibrate", identity):
        return {**read_manifest(store).figures, "skipped": True}
    overrides: dict[str, Any] = {} if chosen.max_length is None else {"max_length": chosen.max_length}
    ranker = Ranker(
        source, device=execution.device, precision=execution.precision, threads=execution.threads,
        **overrides,
    )  # fmt: skip
    scores = ranker.score(judged.pairs)
    calibration = fit(scores, judged.targets, chosen.method, judged.source)
    figures = {
        "stage": "calibrate",
        "method": chosen.method,
        "pairs": len(judged.pairs),
        "positives": round(float(judged.targets.sum()), 3),
        **held_out(scores, judged.targets, judged.query_ids, chosen.method),
        "calibration": asdict(calibration),
        "model": str(folder / MODEL),
        "skipped": False,
    }
    shutil.copytree(source, folder / MODEL, dirs_exist_ok=True)
    save_contract(folder / MODEL, replace(ranker.reranker.contract, calibration=calibration))
    shards = [Shard(name, 1, sha256_bytes(store.read(name))) for name in store.list(MODEL)]
    inputs = {"model": {"path": str(source), **scorer}, "pairs": judged.link}
    counts = {"pairs": len(judged.pairs)}
    write_manifest(store, Manifest("calibrate", fingerprint(identity), identity, inputs, shards, counts, figures))
    return figures


def _from_collection(config: CalibrateConfig) -> Judged:
    """The first stage's candidates; one that nobody judged counts as not relevant, as evaluators count it."""
    from inranker.corpora import open_collection
    from inranker.evaluation.rerank import candidates, texts_of
    from inranker.evaluation.sampling import sample
    from inranker.retrieval import retrieve

    chosen = config.identity
    assert chosen.collection is not None
    collection = open_collection(chosen.collection)
    queries = sample(list(collection.queries_iter(chosen.split)), chosen.max_queries)
    run = retrieve(collection, queries, chosen.depth, cache=config.execution.cache)
    found = candidates(run, chosen.depth)
    passages = texts_of(collection.passages_iter(), found, collection.name)
    relevant = {(q.query_id, q.passage_id) for q in collection.qrels_iter(chosen.split) if q.relevance > 0}
    texts = {query.query_id: query.text for query in queries}
    return Judged(
        [pair.query_id for pair in found],
        [(texts[pair.query_id], passages[pair.passage_id]) for pair in found],
        np.array([tuple(pair) in relevant for pair in found], np.float64),
        f"qrels of {collection.name}, {chosen.split}: {len(queries)} queries, BM25 top {chosen.depth}",
        {"collection": collection.name, "split": chosen.split, "sha256": collection.content_hash(chosen.split)},
    )


def _from_labels(chosen: CalibrateIdentity) -> Judged:
    """Labelled pairs with the teacher's P(true)."""
    from inranker.labeling.read import read_labelled_pairs

    assert chosen.labels is not None
    table = read_labelled_pairs(chosen.labels)
    query_ids: Sequence[str] = table["query_id"].to_pylist()
    kept = _sampled(query_ids, chosen.max_queries)
    rows = [row for row, query_id in enumerate(query_ids) if query_id in kept]
    table = table.take(rows)
    margins = table["true_logit"].to_numpy().astype(np.float64) - table["false_logit"].to_numpy()
    manifest = read_manifest(chosen.labels)
    return Judged(
        table["query_id"].to_pylist(),
        list(zip(table["query"].to_pylist(), table["passage"].to_pylist(), strict=True)),
        sigmoid(margins),
        f"agreement with the teacher of {manifest.fingerprint[:12]}: {len(kept)} queries",
        {"labels": manifest.content_hash},
    )


def _sampled(query_ids: Sequence[str], limit: int | None) -> set[str]:
    distinct = set(query_ids)
    return set(sorted(distinct, key=lambda name: sha256_bytes(name.encode()))[: limit or len(distinct)])
