"""The systems of an evaluation: their names, and what each one scores."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from inranker.errors import UserError
from inranker.evaluation.config import EvaluateConfig
from inranker.evaluation.rerank import Candidate, score_pairs
from inranker.rerankers import load_reranker, scorer_identity

FIRST_STAGE = "bm25"


class System(NamedTuple):
    """A row of the table; `path` is None for the first stage itself."""

    name: str
    path: str | None


@dataclass(frozen=True)
class Scored:
    """What a reranker made of the candidates.

    `logits_N2` float32 raw (false, true); `scores_N` float32, what ranks; `parameters` its number of weights.
    """

    logits_N2: np.ndarray
    scores_N: np.ndarray
    parameters: int
    seconds: float


def parse_systems(entries: Sequence[str]) -> list[System]:
    """Names and paths of `bm25`, `PATH` and `NAME=PATH`.

    Raises:
        UserError: there is none, one is empty, a name is used twice, or `bm25` is given a path.
    """
    systems = [_parse(entry) for entry in entries]
    if not systems:
        raise UserError(f"systems: none given; name {FIRST_STAGE}, a checkpoint directory or a hub id")
    names = [system.name for system in systems]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"systems: the name {name!r} is used twice; give each its own as NAME=PATH")
    return systems


def _parse(entry: str) -> System:
    # A path may hold '=' too; a name may hold no '/', so the two cannot be confused.
    name, equals, path = entry.partition("=")
    if not equals or "/" in name:
        name, path = entry, entry
    if not name.strip() or not path.strip():
        raise UserError(f"systems: {entry!r} is neither {FIRST_STAGE}, PATH nor NAME=PATH")
    if name == FIRST_STAGE and path != FIRST_STAGE:
        raise UserError(f"systems: {FIRST_STAGE} is the first stage itself; give {path} another name")
    return System(name, None if path == FIRST_STAGE else path)


def identities(systems: Sequence[System], config: EvaluateConfig) -> dict[str, Any]:
    """What each reranker's logits depend on, by name; None for the first stage.

    Raises:
        UserError: a model that is not there, or is no reranker.
    """
    chosen = config.identity
    return {
        system.name: scorer_identity(
            system.path, chosen.precision, max_length=chosen.max_length, truncation=chosen.truncation
        )
        if system.path
        else None
        for system in systems
    }


def score_system(
    system: System,
    pairs: Sequence[Candidate],
    queries: Mapping[str, str],
    passages: Mapping[str, str],
    config: EvaluateConfig,
) -> Scored:
    """Load a reranker, score every candidate, and let go of it."""
    from tqdm import tqdm

    from inranker.rerankers.reranker import scores

    execution = config.execution
    assert system.path is not None, "the first stage scores nothing"
    reranker = load_reranker(
        system.path,
        device(execution.device, execution.threads),
        config.identity.precision,
        max_length=config.identity.max_length,
        truncation=config.identity.truncation,
    )
    started = time.perf_counter()
    with tqdm(total=len(pairs), unit="pair", desc=system.name, disable=not execution.progress) as bar:
        logits_N2 = score_pairs(reranker, pairs, queries, passages, execution.token_budget, bar.update)
    seconds = time.perf_counter() - started
    return Scored(logits_N2, scores(logits_N2, reranker.contract), reranker.parameters_count, seconds)


def device(wanted: str, threads: int | None) -> str:
    """The torch device that a config's word means, with its CPU threads set.

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"execution.device: {wanted} asked for, but torch sees no GPU; use cpu or auto")
    return wanted
