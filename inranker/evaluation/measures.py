"""Measures by name, computed by ir_measures (MacAvaney et al. 2022, https://ir-measur.es), per query and on average."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ir_measures

from inranker.errors import UserError
from inranker.types import Qrel, ScoredDoc

Run = Mapping[str, Sequence[ScoredDoc]]
PerQuery = dict[str, dict[str, float]]
"""measure -> query_id -> value; every judged query has a value."""

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@100", "R@1000", "AP", "Judged@10")


def parse_measures(names: Sequence[str]) -> dict[str, Any]:
    """ir_measures' objects by the names they were asked for by.

    Raises:
        UserError: a name that ir_measures does not know, given twice, or none at all.
    """
    if not names:
        raise UserError(f"measures: none given; name some, such as {', '.join(DEFAULT_MEASURES)}")
    parsed: dict[str, Any] = {}
    for name in names:
        try:
            measure = ir_measures.parse_measure(name)
            computable = ir_measures.DefaultPipeline.supports(measure)
        except (ValueError, NameError, AssertionError) as error:
            raise UserError(
                f"measures: ir_measures does not know {name!r} ({error}); write it as in nDCG@10, RR@10 or R@100"
            ) from error
        if not computable:
            raise UserError(f"measures: ir_measures computes {name!r} by a package that is not installed; install it")
        if measure in parsed.values():
            raise UserError(f"measures: {name!r} is given twice")
        parsed[name] = measure
    return parsed


def measure_run(run: Run, qrels: Iterable[Qrel], names: Sequence[str] = DEFAULT_MEASURES) -> PerQuery:
    """Per-query values of a run.

    Every judged query counts: one that the run lacks has 0, as in trec_eval's complete mode (`-c`). Queries without
    judgments are left out.

    Args:
        run: query_id -> its passages; their scores decide the order.
        qrels: judgments.
        names: measures as ir_measures spells them.

    Raises:
        UserError: an unknown measure, or no judgment at all.
    """
    measures = parse_measures(names)
    judged = [ir_measures.Qrel(qrel.query_id, qrel.passage_id, qrel.relevance) for qrel in qrels]
    if not judged:
        raise UserError("nothing to measure against: the split has no qrels")
    name_of = {measure: name for name, measure in measures.items()}
    query_ids = list(dict.fromkeys(qrel.query_id for qrel in judged))
    values: PerQuery = {name: dict.fromkeys(query_ids, 0.0) for name in names}
    retrieved = [
        ir_measures.ScoredDoc(doc.query_id, doc.passage_id, float(doc.score))
        for query_id in query_ids
        for doc in run.get(query_id, ())
    ]
    if not retrieved:
        return values  # some of ir_measures' back ends fail on a run without a single line
    for metric in ir_measures.iter_calc(list(measures.values()), judged, retrieved):
        values[name_of[metric.measure]][metric.query_id] = float(metric.value)
    return values


def means(values: PerQuery) -> dict[str, float]:
    """Mean over the queries, measure by measure."""
    return {name: sum(by_query.values()) / len(by_query) for name, by_query in values.items()}
