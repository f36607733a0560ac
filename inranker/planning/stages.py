"""What one stage of a recipe will take, from its config and the forecasts of the stages before it.

A forecast that rests on something nobody knows yet (the pairs of a collection that is not in the table) has None
there. A new kind of stage is a function and a line in `FORECASTS`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from inranker.errors import UserError
from inranker.evaluation.systems import parse_systems
from inranker.labeling.config import LabelConfig
from inranker.manifest import MANIFEST, read_manifest
from inranker.mining import MineConfig
from inranker.planning import facts
from inranker.planning.speeds import DistillExecution
from inranker.rerankers.flops import scoring_flops
from inranker.rerankers.shapes import Planned, parameters_of, planned_model
from inranker.storage import Store
from inranker.training.config import Hardware, TrainConfig
from inranker.training.custody import as_list
from inranker.training.plan import GB, Rows, plan_of
from inranker.training.student import overrides

PROMPT_WORDS = 300  # of a prompt's instructions and examples
QUERY_TOKENS = 64  # generated for a query, at most


@dataclass(frozen=True)
class Forecast:
    """What a stage takes: None where that is not known, 0 where it is nothing."""

    pairs: int | None = None
    steps: int | None = None
    flops: float | None = 0.0
    gpu_hours: float | None = 0.0
    memory_gb: float | None = None
    note: str = ""


@dataclass
class Known:
    """What the stages so far will have made: data and models by path, synthetic collections by theirs."""

    speeds: DistillExecution
    rows: dict[str, Rows] = field(default_factory=dict)
    models: dict[str, Planned] = field(default_factory=dict)
    collections: dict[str, tuple[facts.Facts, str]] = field(default_factory=dict)

    def rows_at(self, url: str) -> Rows | None:
        """Rows of a directory of pairs or labels: of this recipe's, or of one that is there."""
        place = url.rstrip("/")
        if place in self.rows:
            return self.rows[place]
        store = Store(place)
        if not store.exists(MANIFEST):
            return None
        manifest = read_manifest(store)
        pairs = sum(shard.rows for shard in manifest.shards)
        return Rows(pairs, manifest.counts.get("positives"), facts.MSMARCO.tokens)

    def model(self, name: str, **chosen: Any) -> Planned:
        """A model of this recipe's, or a published one.

        Raises:
            UserError: its shape is not known.
        """
        found = self.models.get(name.rstrip("/"))
        if found is None:
            return planned_model(name, **chosen)
        return replace(found, max_length=chosen.get("max_length") or found.max_length)

    def collection(self, name: str, split: str) -> tuple[facts.Facts, str] | None:
        """What is known of a collection and split."""
        return self.collections.get(name) or facts.facts_of(name, split)

    def scoring_hours(self, flops: float) -> float:
        """GPU-hours of forward passes."""
        return flops / (self.speeds.gpu_tflops * 1e12 * self.speeds.scoring_utilisation) / 3600


def mine(config: MineConfig, known: Known) -> Forecast:
    """Pairs of the queries' relevant passages and the negatives drawn for each; BM25 needs no GPU."""
    chosen = config.identity
    found = known.collection(chosen.collection, chosen.split)
    positives = found[0].positives.get(found[1]) if found else None
    if found is None or positives is None:
        return Forecast(note="pairs not known before they are mined")
    if chosen.max_queries is not None:
        queries = found[0].queries[found[1]]
        positives = round(positives * min(1.0, chosen.max_queries / queries))
    rows = Rows(positives * (1 + chosen.negatives_per_positive), positives, found[0].tokens)
    known.rows[config.output] = rows
    return Forecast(pairs=rows.pairs)


def import_labels(config: Any, known: Known) -> Forecast:
    """A released label set; its positives are known only where a collection judges them."""
    chosen = config.identity
    pairs = chosen.max_rows or facts.RELEASED_PAIRS[chosen.format]
    positives = facts.MSMARCO.positives["train"] if chosen.format == "msmarco" else None
    for part in ("pairs", "labels"):
        known.rows[f"{config.output}/{part}"] = Rows(pairs, positives, facts.released_tokens(chosen.format))
    return Forecast(pairs=pairs)


def synthesize(config: Any, known: Known) -> Forecast:
    """Tokens read and written, two operations for each weight and token."""
    chosen = config.identity
    found = known.collection(chosen.collection, "")
    if found is None or found[0].passages is None:
        return Forecast(note="passages not known")
    source, passages = found[0], found[0].passages
    if chosen.passages is not None:
        passages = min(chosen.passages, passages)
    queries = passages * chosen.queries_per_passage
    judged = {"train": queries}
    made = replace(source, queries=judged, positives=judged, query_words=source.query_words)
    known.collections[f"synthetic:{config.output}"] = (made, "train")
    words = PROMPT_WORDS + min(chosen.passage_words, source.passage_words)
    shape = planned_model(chosen.model).shape
    weights = parameters_of(shape)
    flops = 2.0 * weights * queries * (facts.TOKENS_PER_WORD * words + QUERY_TOKENS)
    # Writing reads all weights for each token, so it reaches less of the peak than scoring does.
    utilisation = config.execution.utilisation / known.speeds.scoring_utilisation
    return Forecast(queries, None, flops, known.scoring_hours(flops) / utilisation, 2 * weights / GB, "pairs: prompts")


def label(config: LabelConfig, known: Known) -> Forecast:
    """A forward pass of the teacher for each pair."""
    chosen = config.identity
    rows, teacher = known.rows_at(chosen.pairs), known.model(chosen.teacher, max_length=chosen.max_length)
    if rows is None:
        return Forecast(flops=None, gpu_hours=None, note="pairs not known before they are mined")
    known.rows[config.output] = rows
    flops = _scoring(teacher, rows.pairs, rows.tokens)
    return Forecast(rows.pairs, None, flops, known.scoring_hours(flops), _weights_gb(teacher, chosen.precision))


def train(config: TrainConfig, known: Known) -> Forecast:
    """See `training.plan`; the student is then known to the stages after this one."""
    identity, speeds = config.identity, known.speeds
    start = known.model(identity.start, **overrides(identity))
    known.models[f"{config.output}/student"] = start
    sets = [known.rows_at(url) for url in as_list(identity.labels) or as_list(identity.pairs)]
    rows = [each for each in sets if each is not None]
    if len(rows) < len(sets) and identity.steps is None:
        return Forecast(flops=None, gpu_hours=None, note="pairs not known before they are mined")
    tokens = sum(each.pairs * each.tokens for each in rows) / max(1, sum(each.pairs for each in rows))
    positives = None if any(each.positives is None for each in rows) else sum(each.positives or 0 for each in rows)
    # Rows that are not known: pairs half as long as they may be, of which a pass is never asked for.
    together = Rows(sum(each.pairs for each in rows), positives, tokens or start.max_length / 2)
    hardware = Hardware(
        gpu_memory_gb=speeds.gpu_memory_gb,
        gpu_tflops=speeds.gpu_tflops,
        utilisation=speeds.training_utilisation,
        update_seconds=speeds.update_seconds,
    )
    plan = plan_of(identity, replace(config.execution, hardware=hardware), start, together)
    fits = "" if plan["gb_per_gpu"] <= speeds.gpu_memory_gb else "does not fit this GPU as it is"
    return Forecast(plan["pairs"], plan["steps"], plan["flops"], plan["gpu_hours"], plan["gb_per_gpu"], fits)


def evaluate(config: Any, known: Known) -> Forecast:
    """A forward pass of each reranker for each candidate."""
    chosen = config.identity
    found = known.collection(chosen.collection, chosen.split)
    rerankers = [system for system in parse_systems(chosen.systems) if system.path]
    queries = found[0].queries.get(found[1]) if found else None
    if found is None or queries is None:
        return Forecast(flops=None, gpu_hours=None, note="queries not known")
    depth = min(chosen.depth, found[0].passages or chosen.depth)
    pairs = min(queries, chosen.max_queries or queries) * depth
    models = [known.model(str(system.path), max_length=chosen.max_length) for system in rerankers]
    flops = sum(_scoring(model, pairs, found[0].tokens) for model in models)
    memory = max((_weights_gb(model, chosen.precision) for model in models), default=None)
    return Forecast(pairs * len(models), None, flops, known.scoring_hours(flops), memory)


def create(config: Any, known: Known) -> Forecast:
    """A T5 from scratch, with a vocabulary of the usual size where its tokenizer is not at hand."""
    from transformers import AutoConfig

    chosen = config.identity
    shape = AutoConfig.for_model("t5", decoder_start_token_id=0, **vars(chosen.shape))
    known.models[f"{config.output}/model"] = Planned(shape, "t5", chosen.max_length)
    return Forecast()


def combine(config: Any, known: Known) -> Forecast:
    """Labels of several teachers as one set: as many as the first one's."""
    rows = known.rows_at(config.identity.labels[0])
    if rows is not None:
        known.rows[config.output] = rows
    return Forecast(pairs=rows.pairs if rows else None)


def align(config: Any, known: Known) -> Forecast:
    """The same pairs in two languages, where nothing is missing."""
    rows = known.rows_at(config.identity.pairs)
    return Forecast(pairs=2 * rows.pairs if rows else None)


def nothing(config: Any, known: Known) -> Forecast:
    """A stage that needs no GPU and whose output no other one trains on."""
    return Forecast()


FORECASTS: dict[str, Callable[[Any, Known], Forecast]] = {
    "mine": mine,
    "import": import_labels,
    "synthesize": synthesize,
    "label": label,
    "combine": combine,
    "align": align,
    "train": train,
    "evaluate": evaluate,
    "create": create,
    "vocabulary": nothing,
    "export": nothing,
    "average": nothing,
}


def forecast(stage: str, config: Any, known: Known) -> Forecast:
    """The forecast of one stage; of a kind without a function, or of models of unknown shape, one that says so."""
    function = FORECASTS.get(stage)
    if function is None:
        return Forecast(flops=None, gpu_hours=None, note="not reckoned")
    try:
        return function(config, known)
    except UserError as error:
        return Forecast(flops=None, gpu_hours=None, note=str(error))


def _scoring(model: Planned, pairs: int, tokens: float) -> float:
    length = min(tokens, model.max_length)
    return scoring_flops(model.shape, model.architecture, pairs, pairs * length, pairs * length**2)


def _weights_gb(model: Planned, precision: str) -> float:
    return parameters_of(model.shape) * (2 if precision == "bfloat16" else 4) / GB
