"""What is the same for every system: the first stage of some queries, the pairs that it leaves to score, texts."""

from typing import NamedTuple

from inranker.corpora import Collection
from inranker.errors import UserError
from inranker.evaluation.config import EvaluateConfig
from inranker.evaluation.rerank import Candidate, candidates, texts_of
from inranker.retrieval import Run, read_run, retrieve
from inranker.retrieval.runs import strictly_decreasing
from inranker.types import Qrel, Query


class Prepared(NamedTuple):
    """A first stage with its candidates.

    Attributes:
        first_stage: query_id -> passages, scores strictly decreasing.
        pairs: what a reranker reads.
        passages: passage_id -> contents of the pairs' passages; empty where nothing reads them.
        texts: query_id -> query.
        qrels: judgments of these queries.
    """

    first_stage: Run
    pairs: list[Candidate]
    passages: dict[str, str]
    texts: dict[str, str]
    qrels: list[Qrel]


def prepare(
    config: EvaluateConfig,
    collection: Collection,
    split: str,
    queries: list[Query],
    given: Run | None,
    with_texts: bool,
) -> Prepared:
    """Retrieve, unless a run is given, and look up what is to be scored.

    Args:
        config: of the evaluation.
        collection: what is searched.
        split: whose judgments are taken.
        queries: of that split.
        given: a first stage to take as it is.
        with_texts: look up the passages.
    """
    chosen = config.identity
    if given is None:
        depth = max(chosen.depth, chosen.retrieve)
        cache = config.execution.cache
        given = retrieve(collection, queries, depth, chosen.retriever, chosen.language, cache, chosen.bm25)
    # Evaluators re-sort ties by id; the order that is re-ranked and the one that is measured must be the same.
    first_stage = {query_id: strictly_decreasing(ranking) for query_id, ranking in given.items()}
    pairs = candidates(first_stage, chosen.depth)
    passages = texts_of(collection.passages_iter(), pairs, collection.name) if with_texts else {}
    texts = {query.query_id: query.text for query in queries}
    qrels = [qrel for qrel in collection.qrels_iter(split) if qrel.query_id in texts]
    return Prepared(first_stage, pairs, passages, texts, qrels)


def read_first_stage(config: EvaluateConfig, collection: Collection, split: str, queries: list[Query]) -> Run | None:
    """The run file that takes the place of retrieving; None where there is none.

    Raises:
        UserError: it has none of the queries, or names passages that the collection does not have.
    """
    chosen = config.identity
    if chosen.run is None:
        return None
    given = read_run(chosen.run)
    run = {query.query_id: given[query.query_id] for query in queries if query.query_id in given}
    if not run:
        raise UserError(
            f"run {chosen.run} has none of the {len(queries)} queries of split {split!r}; "
            "name a run of this collection and split"
        )
    # Looked up once only to be refused before the output is claimed: somebody else's run may be of another corpus.
    texts_of(collection.passages_iter(), candidates(run, chosen.depth), collection.name)
    return run
