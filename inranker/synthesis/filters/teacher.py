"""Does the teacher agree that a query's passage answers it? Asked after its pairs were mined and labelled."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from inranker.errors import UserError
from inranker.labeling.read import iter_labelled_pairs
from inranker.manifest import read_manifest
from inranker.synthesis.filters.base import Context, Verdict
from inranker.synthesis.filters.options import FilterOptions
from inranker.synthesis.raw import Asked


class Margins(NamedTuple):
    """The teacher's margins (true − false) of N queries, float32, NaN where it gave none: of their own passage, and the
    highest of their negatives."""

    own_N: np.ndarray
    negative_N: np.ndarray


def teacher_margin(asked: Asked, context: Context) -> Verdict:
    """The teacher scores the passage highly enough, and far enough above the negatives; unlabelled queries go.

    Raises:
        UserError: no labels are named, they are unfinished, or they are of other queries.
    """
    chosen = context.options
    margins = read_margins(asked, _labels(chosen))
    keep_N = np.isfinite(margins.own_N)
    if chosen.teacher_margin is not None:
        keep_N &= margins.own_N >= chosen.teacher_margin
    # A query without negatives has nothing to be far enough above.
    gap_N = np.where(np.isnan(margins.negative_N), np.inf, margins.own_N - margins.negative_N)
    if chosen.teacher_gap is not None:
        keep_N &= gap_N >= chosen.teacher_gap
    gap = pa.array(gap_N.astype(np.float32), mask=~np.isfinite(gap_N))
    return Verdict(keep_N, {"teacher_margin": _nullable(margins.own_N), "teacher_gap": gap})


def read_margins(asked: Asked, labels: str) -> Margins:
    """What labels say of queries and their passages, a label shard in memory at a time.

    Raises:
        UserError: the labels are unfinished, or know none of the queries.
    """
    places = {name: place for place, name in enumerate(asked.table["query_id"].to_pylist())}
    passage_ids = asked.table["passage_id"].to_pylist()
    own_N = np.full(len(asked), np.nan, dtype=np.float32)
    negative_N = np.full(len(asked), np.nan, dtype=np.float32)
    for table in iter_labelled_pairs(labels):
        margin = pc.subtract(table["true_logit"], table["false_logit"]).to_pylist()
        ids, passages = (table[name].to_pylist() for name in ("query_id", "passage_id"))
        for query_id, passage_id, value in zip(ids, passages, margin, strict=True):
            if (place := places.get(query_id)) is None:
                continue
            if passage_id == passage_ids[place]:
                own_N[place] = value
            else:
                negative_N[place] = np.fmax(negative_N[place], value)
    if len(asked) and np.isnan(own_N).all():
        raise UserError(
            f"filter teacher_margin: labels {labels} have none of the {len(asked)} queries; mine and label this query "
            "set (mine.py --collection synthetic:…), and name those labels"
        )
    return Margins(own_N, negative_N)


def teacher_identity(chosen: FilterOptions, language: str) -> dict[str, str]:
    """The labels by content."""
    return {"labels": read_manifest(_labels(chosen)).content_hash}


def _labels(chosen: FilterOptions) -> str:
    if chosen.labels is None:
        raise UserError("filter teacher_margin: no labels are named; set filter.labels to a finished labels directory")
    return chosen.labels


def _nullable(values_N: np.ndarray) -> pa.Array:
    return pa.array(values_N, mask=np.isnan(values_N))
