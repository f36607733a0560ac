"""nDCG@10 while training: a small first-stage run, tokenised once per node, re-ranked by the student as it stands.

Where there are no qrels, held-out labels take their place: what a passage is worth is then the teacher's P(true).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inranker.corpora import open_collection
from inranker.errors import UserError
from inranker.evaluation.agreement import agreement, gains, mean_agreement
from inranker.evaluation.measures import means, measure_run
from inranker.evaluation.rerank import candidates, rerank, texts_of
from inranker.evaluation.sampling import sample
from inranker.manifest import read_manifest
from inranker.rerankers.batching import pad, plan_batches
from inranker.rerankers.encode import EncodedPairs, PairEncoder
from inranker.rerankers.reranker import scores
from inranker.retrieval import Run, retrieve
from inranker.retrieval.runs import strictly_decreasing
from inranker.training.config import Dev
from inranker.types import Qrel, Query, ScoredDoc

MEASURE = "nDCG@10"
DEV_SCORE = f"dev_{MEASURE}"  # its name in metrics.jsonl and in what is said of a checkpoint
ABOUT, TOKENS = "dev.json", "dev.npz"
TOKEN_BUDGET = 8192


def dev_identity(dev: Dev) -> dict[str, Any] | None:
    """What the measurements depend on, the collection by content; None where there are none.

    Raises:
        UserError: the collection or its split cannot be read.
    """
    told = {name: value for name, value in vars(dev).items() if name != "labels"}
    if dev.labels is not None:
        if dev.collection is not None:
            raise UserError("dev: name a collection or labels, one of the two")
        return {**told, "labels": read_manifest(dev.labels).content_hash}
    if dev.collection is None:
        return None
    collection = open_collection(dev.collection)
    if dev.split not in collection.splits():
        raise UserError(f"dev.split: {dev.collection} has no split {dev.split!r}; it has {collection.splits()}")
    return {**told, "collection": collection.content_hash(dev.split)}


def write_dev(place: Path, dev: Dev, encoder: PairEncoder) -> None:
    """Retrieve, or take from labels, and tokenise the measurements' candidates into a directory."""
    if dev.labels is not None:
        return _write_labelled(place, dev, encoder)
    assert dev.collection is not None
    collection = open_collection(dev.collection)
    queries = sample(list(collection.queries_iter(dev.split)), dev.queries)
    found = retrieve(collection, queries, dev.depth)
    run = {query_id: strictly_decreasing(ranking) for query_id, ranking in found.items()}
    pairs = candidates(run, dev.depth)
    passages = texts_of(collection.passages_iter(), pairs, collection.name)
    texts = {query.query_id: query.text for query in queries}
    encoded = encoder.encode([texts[pair.query_id] for pair in pairs], [passages[pair.passage_id] for pair in pairs])
    qrels = [qrel for qrel in collection.qrels_iter(dev.split) if qrel.query_id in texts]
    about = {"run": {q: [(d.passage_id, d.score) for d in ranking] for q, ranking in run.items()}, "qrels": qrels}
    _write(place, about, encoded)


def _write_labelled(place: Path, dev: Dev, encoder: PairEncoder) -> None:
    """Every labelled pair of a fixed sample of queries."""
    from inranker.labeling.read import read_labelled_pairs

    assert dev.labels is not None
    table = read_labelled_pairs(dev.labels)
    known = [Query(query_id, "") for query_id in dict.fromkeys(table["query_id"].to_pylist())]
    kept = {query.query_id for query in sample(known, dev.queries)}
    table = table.take([row for row, query_id in enumerate(table["query_id"].to_pylist()) if query_id in kept])
    logits_N2 = np.stack([table[name].to_numpy() for name in ("false_logit", "true_logit")], axis=1)
    about = {
        "query_ids": table["query_id"].to_pylist(),
        "gains": gains(logits_N2).tolist(),
        "judge": (logits_N2[:, 1].astype(np.float64) - logits_N2[:, 0]).tolist(),
    }
    _write(place, about, encoder.encode(table["query"].to_pylist(), table["passage"].to_pylist()))


def _write(place: Path, about: dict[str, Any], encoded: EncodedPairs) -> None:
    (place / ABOUT).write_text(json.dumps(about))
    np.savez(place / TOKENS, token_ids=encoded.token_ids, offsets=encoded.offsets, truncated=encoded.truncated)


class DevRun:
    """The candidates in a directory that `write_dev` filled.

    Args:
        place: the directory.
        dev: what it was made for.
        encoder: the student's; its contract says which logit ranks.
    """

    def __init__(self, place: Path, dev: Dev, encoder: PairEncoder) -> None:
        about = json.loads((place / ABOUT).read_text())
        self.dev, self.encoder, self.about = dev, encoder, about
        self.run: Run = {
            query_id: [ScoredDoc(query_id, passage_id, score) for passage_id, score in ranking]
            for query_id, ranking in about.get("run", {}).items()
        }
        self.qrels = [Qrel(*qrel) for qrel in about.get("qrels", [])]
        with np.load(place / TOKENS) as stored:
            self.encoded = EncodedPairs(stored["token_ids"], stored["offsets"], stored["truncated"])

    def measure(self, forward: Callable[..., torch.Tensor], device: torch.device, rank: int, world: int) -> float:
        """Mean nDCG@10 of the re-ranked run; all workers call it, share the work and get the same number.

        Args:
            forward: (input_ids_BL, mask_BL) -> logits_B2, in evaluation mode.
        """
        logits_N2 = torch.zeros((len(self.encoded), 2), device=device)
        batches = plan_batches(self.encoded.lengths, TOKEN_BUDGET)
        for start in range(0, len(batches), world):
            number = start + rank
            rows = batches[min(number, len(batches) - 1)]  # ZeRO-3 needs every worker in every forward pass
            input_ids_BL, mask_BL = pad(self.encoded, rows, self.encoder.pad_id)
            with torch.no_grad():
                logits_B2 = forward(input_ids_BL.to(device), None if mask_BL is None else mask_BL.to(device))
            if number < len(batches):
                logits_N2[torch.from_numpy(rows).to(device)] = logits_B2.float()
        if world > 1:
            torch.distributed.all_reduce(logits_N2)
        return self.effectiveness(scores(logits_N2.cpu().numpy(), self.encoder.contract))

    def effectiveness(self, scores_N: np.ndarray) -> float:
        """Mean nDCG@10 of the candidates in the order of these scores."""
        if self.dev.labels is not None:
            gain_N, judge_N = np.array(self.about["gains"]), np.array(self.about["judge"])
            return mean_agreement(agreement(self.about["query_ids"], gain_N, judge_N, scores_N))[MEASURE]
        reranked = rerank(self.run, self.dev.depth, scores_N)
        return means(measure_run(reranked, self.qrels, [MEASURE]))[MEASURE]
