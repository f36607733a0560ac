"""The search for candidates as a cluster job: query batches in Ray actors, each of which maps the same index.

A worker sends back only what was drawn, some kilobytes a batch instead of megabytes of rankings, so one driver follows
as many workers as there are. Results come in the order of the batches, whoever is faster.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import ray

from inranker.corpora import open_collection
from inranker.errors import UserError
from inranker.raysession import session_options
from inranker.retrieval import Bm25Options, open_retriever
from inranker.retrieval.sampling import Batch, Drawn, Recipe, draw_batch

IN_FLIGHT = 2  # batches of a worker: one that it searches, one that waits


@dataclass(frozen=True)
class SearchJob:
    """What a worker needs to search as the driver would: all of it is small."""

    collection: str
    language: str | None
    fix_text: bool
    corpus_hash: str
    retriever: str
    bm25: Bm25Options
    cache: str
    recipe: Recipe
    threads: int


@ray.remote
class SearchWorker:
    """A process with the first stage open."""

    def __init__(self, job: SearchJob) -> None:
        self.job = job
        self.retriever: Any = None

    def open(self) -> str | None:
        """Open or build the index; None, or what a person must know."""
        job = self.job
        try:
            collection = open_collection(job.collection, job.language, job.fix_text)
            if collection.passages_hash() != job.corpus_hash:
                return f"a worker reads another corpus under {job.collection} than the driver; give all nodes the same"
            self.retriever = open_retriever(collection, job.retriever, job.language, job.cache, job.bm25)
        except UserError as error:
            return f"a worker cannot search: {error}"
        return None

    def draw(self, batch: Batch) -> list[Drawn]:
        """The pairs of some queries."""
        return draw_batch(self.retriever, batch, self.job.recipe, self.job.threads)


def draw_in_workers(job: SearchJob, batches: Iterable[Batch], workers: int) -> Iterator[list[Drawn]]:
    """What `draw_batch` gives for each batch, in order, from so many workers.

    Raises:
        UserError: the cluster has too few CPUs, or a worker sees another corpus or cannot open its index.
    """
    if not ray.is_initialized():
        ray.init(**session_options())
    wanted, there = workers * job.threads, int(ray.cluster_resources().get("CPU", 0))
    if wanted > there:
        raise UserError(
            f"field workers: {workers} of {job.threads} threads need {wanted} CPUs, and the cluster has {there}"
        )
    pool = [SearchWorker.options(num_cpus=job.threads).remote(job) for _ in range(workers)]  # type: ignore[attr-defined]
    try:
        for sentence in ray.get([worker.open.remote() for worker in pool]):
            if sentence:
                raise UserError(sentence)
        waiting: list[Any] = []
        for number, batch in enumerate(batches):
            waiting.append(pool[number % workers].draw.remote(batch))
            if len(waiting) >= IN_FLIGHT * workers:
                yield ray.get(waiting.pop(0))
        for result in waiting:
            yield ray.get(result)
    finally:
        for worker in pool:
            ray.kill(worker)
