"""What a label job is before anything runs: its pairs, its identity, its units. Shared by the factory and the plan."""

from typing import Any

from inranker.errors import UserError
from inranker.jobs.kind import JobKind
from inranker.jobs.resume import unit_rows_for
from inranker.labeling.config import LabelConfig, LabelExecution
from inranker.manifest import Manifest, read_manifest
from inranker.rerankers import scorer_identity
from inranker.storage import Store

LABEL = JobKind("label", "pair")
PAIRS_STAGES = ("mine", "import", "align")  # whose output is pairs
UNIT_ROWS = 8192
SMALLEST_UNIT_ROWS = 64
UNITS_PER_ACTOR = 8  # with fewer, the last units to finish leave the other actors idle


def read_pairs(config: LabelConfig) -> Manifest:
    """The manifest of the pairs to label.

    Raises:
        UserError: there is none, or it is of another stage.
    """
    pairs = Store(config.identity.pairs)
    manifest = read_manifest(pairs)
    if manifest.stage not in PAIRS_STAGES:
        raise UserError(f"{pairs.url} is the output of stage {manifest.stage!r}; name a directory of pairs")
    return manifest


def job_identity(config: LabelConfig, pairs_manifest: Manifest) -> dict[str, Any]:
    """What the labels depend on: the scorer (weights, tokens, template, arithmetic) and the pairs, by content."""
    chosen = config.identity
    scorer = scorer_identity(chosen.teacher, chosen.precision, **reranker_overrides(config))
    return {"scorer": scorer, "pairs": pairs_manifest.content_hash}


def reranker_overrides(config: LabelConfig) -> dict[str, Any]:
    """Choices of the job that replace those of the teacher's reranker.json."""
    chosen = {"max_length": config.identity.max_length, "truncation": config.identity.truncation}
    return {name: value for name, value in chosen.items() if value is not None}


def chosen_unit_rows(total: int, execution: LabelExecution) -> int:
    """Pairs of a unit of a job that starts now."""
    return execution.unit_rows or default_unit_rows(total, execution)


def default_unit_rows(total: int, execution: LabelExecution) -> int:
    """Units big enough to keep an actor busy for a while, small enough that none stands idle at the end."""
    actors = execution.max_actors or execution.actors
    return unit_rows_for(total, actors, UNIT_ROWS, SMALLEST_UNIT_ROWS, UNITS_PER_ACTOR)
