"""The work on one unit, as three plain functions of one-row Arrow tables: tokenise, score, commit.

The factory maps them over units; they know nothing of Ray. Between them travel flat buffers, never Python lists: the
token ids as one int32 buffer plus offsets, and behind the scorer only logits.
"""

import os
import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa

from inranker.crashpoints import crash_point
from inranker.jobs.turns import UnitTurns
from inranker.jobs.work import buffer, one_row, require_shared_output
from inranker.labeling.dedupe import ANSWER, answers_of, first_occurrences, not_scored, share_answers, text_keys
from inranker.labeling.reuse import ReuseIndex
from inranker.labeling.rows import UnitReader, from_parquet, label_table, to_parquet
from inranker.rerankers import load_encoder, load_reranker
from inranker.rerankers.encode import EncodedPairs, PairEncoder
from inranker.storage import Store
from inranker.units import Receipt, commit, put_object, unit_from_json

ID_COLUMNS = ["row", "query_id", "passage_id"]


class PairTokenizer:
    """Stage 1: a unit's rows -> token ids.

    Args:
        reuse: name of the index of earlier labels in the output; pairs that it knows are not tokenised.
    """

    def __init__(
        self,
        pairs: str,
        output: str,
        fingerprint: str,
        teacher: str,
        overrides: tuple[tuple[str, Any], ...],
        reuse: str | None = None,
    ) -> None:
        require_shared_output(output, fingerprint)
        # Tasks are spread over the cores already; a pool of threads in each would only make them wait for each other.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self.read = UnitReader(Store(pairs))
        self.encoder = _encoder(fingerprint, teacher, overrides)
        self.known = ReuseIndex(Store(output), reuse) if reuse else None

    def __call__(self, work: pa.Table) -> pa.Table:
        """Columns in: unit. Columns out: unit, ids, quarantine (Parquet bytes), token_ids, offsets, truncated.

        `ids` has every row that can be scored and says where its logits come from; the tokens are of those to score.
        """
        crash_point("before-read")
        unit = unit_from_json(work["unit"][0].as_py())
        rows = self.read(unit)
        queries, passages = rows.pairs["query"].to_pylist(), rows.pairs["passage"].to_pylist()
        keys_N = text_keys(queries, passages)
        first, of_row_N = first_occurrences(keys_N)
        found, known = np.zeros(len(first), bool), np.zeros(0, ANSWER)
        if self.known is not None:
            found, known = self.known.lookup(keys_N[first])
        ids, to_score = share_answers(rows.pairs.select(ID_COLUMNS), first, of_row_N, found, known)
        encoded = self.encoder.encode([queries[row] for row in to_score], [passages[row] for row in to_score])
        crash_point("after-tokenise")
        return one_row(
            unit=work["unit"][0].as_py(),
            ids=to_parquet(ids),
            quarantine=to_parquet(rows.quarantine),
            token_ids=encoded.token_ids.astype(np.int32, copy=False).tobytes(),
            offsets=encoded.offsets.astype(np.int64, copy=False).tobytes(),
            truncated=encoded.truncated.astype(np.bool_, copy=False).tobytes(),
        )


class PairScorer:
    """Stage 2: token ids -> logits. One teacher per instance, which several threads may call.

    Args:
        teacher: checkpoint or hub id.
        precision: arithmetic of the forward pass.
        device: `cpu` or `cuda`.
        threads: CPU threads of the forward pass; None leaves torch's own.
        token_budget: tokens of a batch; None picks one for the device.
        begin: told a unit's name before it is scored, says how often it has been started; raises to stop a unit that
            has been started too often.
    """

    def __init__(
        self,
        teacher: str,
        precision: str,
        device: str,
        threads: int | None,
        token_budget: int | None,
        begin: Callable[[str], int],
        overrides: dict[str, Any],
    ) -> None:
        import torch

        if threads:
            torch.set_num_threads(threads)  # a worker process starts with one thread per logical CPU it asked for
        reranker = load_reranker(teacher, device=device, dtype=precision, **overrides)
        self.logits = partial(reranker.logits, token_budget=token_budget) if token_budget else reranker.logits
        self.turns = UnitTurns(begin)

    def __call__(self, work: pa.Table) -> pa.Table:
        """Columns in: those of `PairTokenizer`. Columns out: unit, ids, quarantine, logits, n_tokens, truncated."""
        unit_text = work["unit"][0].as_py()
        encoded = EncodedPairs(
            token_ids=buffer(work, "token_ids", np.int32),
            offsets=buffer(work, "offsets", np.int64),
            truncated=buffer(work, "truncated", np.bool_),
        )
        with self.turns.of(unit_from_json(unit_text).name) as spent:
            crash_point("before-score")
            logits_N2 = self.logits(encoded) if len(encoded) else np.zeros((0, 2), np.float32)
            crash_point("after-score")
        return one_row(
            unit=unit_text,
            ids=work["ids"][0].as_py(),
            quarantine=work["quarantine"][0].as_py(),
            logits=logits_N2.astype(np.float32, copy=False).tobytes(),
            n_tokens=encoded.lengths.astype(np.int32).tobytes(),
            truncated=work["truncated"][0].as_py(),
            seconds=spent.seconds,
        )


class LabelCommitter:
    """Stage 3: logits -> label shard, quarantine shard and receipt."""

    def __init__(self, output: str, fingerprint: str) -> None:
        require_shared_output(output, fingerprint)
        self.store = Store(output)
        self.fingerprint = fingerprint

    def __call__(self, work: pa.Table) -> pa.Table:
        """Columns in: those of `PairScorer`. Columns out: unit, rows and the receipt's figures: what the driver counts.

        `tokens` and `seconds` are of the pairs that were scored; `duplicates` of one of those, and `reused` ones, cost
        neither.
        """
        unit = unit_from_json(work["unit"][0].as_py())
        ids = from_parquet(work["ids"][0].as_py())
        answers = answers_of(ids, _scored(work))
        logits_N2 = np.stack([answers["false_logit"], answers["true_logit"]], axis=1)
        labels, not_finite = label_table(ids, logits_N2, answers["n_tokens"], answers["truncated"])
        unusable = pa.concat_tables([from_parquet(work["quarantine"][0].as_py()), not_finite]).sort_by("row")
        data = put_object(self.store, "data", unit, labels.num_rows, to_parquet(labels), ".parquet")
        quarantine = None
        if unusable.num_rows:
            content = to_parquet(unusable)
            quarantine = put_object(self.store, "quarantine", unit, unusable.num_rows, content, ".parquet")
        figures = {
            "tokens": int(buffer(work, "n_tokens", np.int32).sum()),
            "seconds": work["seconds"][0].as_py(),
            **not_scored(ids),
        }
        stamped = {**figures, "finished_at": round(time.time(), 3)}
        commit(self.store, unit, Receipt(unit.name, self.fingerprint, unit.rows, data, quarantine, stamped))
        lengths_S = buffer(work, "n_tokens", np.int32).astype(np.int64)
        told = {"scored": len(lengths_S), "squares": int((lengths_S**2).sum()), **figures}
        return one_row(unit=unit.name, rows=unit.rows, quarantined=unusable.num_rows, **told)


def _scored(work: pa.Table) -> np.ndarray:
    logits_S2 = buffer(work, "logits", np.float32).reshape(-1, 2)
    scored = np.empty(len(logits_S2), ANSWER)
    scored["false_logit"], scored["true_logit"] = logits_S2.T
    scored["n_tokens"], scored["truncated"] = buffer(work, "n_tokens", np.int32), buffer(work, "truncated", np.bool_)
    return scored


@lru_cache(maxsize=2)
def _encoder(fingerprint: str, teacher: str, overrides: tuple[tuple[str, Any], ...]) -> PairEncoder:
    """Loaded once a process for a job, whatever its output; the fingerprint tells teachers at one path apart."""
    return load_encoder(teacher, **dict(overrides))
