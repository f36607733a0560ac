"""Stages of the label graph that measure it: some cost nothing, some say when the work proper begins.

Ray's start and the loading of a model are no part of a figure, so tokenising waits until the scorer is loaded, and that
moment is noted in a file: nothing can be done ahead of the clock.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from inranker.jobs.work import buffer, one_row
from inranker.labeling.dedupe import ANSWER, share_answers
from inranker.labeling.factory import Stages
from inranker.labeling.rows import QUARANTINE_SCHEMA, to_parquet
from inranker.labeling.scorer import PairScorer, PairTokenizer
from inranker.units import unit_from_json

START_FILE = "INRANKER_BENCHMARK_START"


def started_at() -> float:
    """When the scorer of the last job had been loaded, by `time.time()`."""
    return float(Path(os.environ[START_FILE]).read_text())


def forget_start() -> None:
    """Before each job."""
    Path(os.environ[START_FILE]).unlink(missing_ok=True)


def _note_start() -> None:
    file = Path(os.environ[START_FILE])
    part = file.with_suffix(f".{os.getpid()}")
    part.write_text(repr(time.time()))
    part.rename(file)


def _await_start() -> None:
    while not Path(os.environ[START_FILE]).exists():
        time.sleep(0.005)


class WaitingTokenizer(PairTokenizer):
    """Tokenises once the scorer is there."""

    def __call__(self, work: pa.Table) -> pa.Table:
        _await_start()
        return super().__call__(work)


class TimedScorer(PairScorer):
    """The real scorer, which says when it has been loaded."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        _note_start()


class NullTokenizer:
    """Neither reads nor tokenises: every pair is one token."""

    def __init__(self, *rest: Any) -> None:
        pass

    def __call__(self, work: pa.Table) -> pa.Table:
        _await_start()
        unit = unit_from_json(work["unit"][0].as_py())
        rows = np.arange(unit.start, unit.stop, dtype=np.int32)
        ids = pa.table({"row": rows, "query_id": ["q"] * unit.rows, "passage_id": ["p"] * unit.rows})
        each = np.arange(unit.rows)
        ids, _ = share_answers(ids, each, each, np.zeros(unit.rows, bool), np.zeros(0, ANSWER))
        return one_row(
            unit=work["unit"][0].as_py(),
            ids=to_parquet(ids),
            quarantine=to_parquet(QUARANTINE_SCHEMA.empty_table()),
            token_ids=np.ones(unit.rows, np.int32).tobytes(),
            offsets=np.arange(unit.rows + 1, dtype=np.int64).tobytes(),
            truncated=np.zeros(unit.rows, np.bool_).tobytes(),
        )


class NullScorer:
    """Takes token ids and gives zeros."""

    def __init__(self, begin: Callable[[str], None], **rest: Any) -> None:
        self.begin = begin
        _note_start()

    def __call__(self, work: pa.Table) -> pa.Table:
        self.begin(unit_from_json(work["unit"][0].as_py()).name)
        lengths = np.diff(buffer(work, "offsets", np.int64))
        return one_row(
            unit=work["unit"][0].as_py(),
            ids=work["ids"][0].as_py(),
            quarantine=work["quarantine"][0].as_py(),
            logits=np.zeros((len(lengths), 2), np.float32).tobytes(),
            n_tokens=lengths.astype(np.int32).tobytes(),
            truncated=work["truncated"][0].as_py(),
            seconds=0.0,
        )


REAL = Stages(WaitingTokenizer, TimedScorer)
NO_SCORING = Stages(WaitingTokenizer, NullScorer)
NOTHING = Stages(NullTokenizer, NullScorer)
