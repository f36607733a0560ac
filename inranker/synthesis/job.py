"""What a synthesis job is before anything runs: its collection, prompts, identity and units. Starts no Ray."""

from typing import Any

from inranker.corpora import Collection, open_collection
from inranker.errors import UserError
from inranker.fingerprint import fingerprint, plain
from inranker.jobs.kind import JobKind
from inranker.jobs.resume import unit_rows_for
from inranker.synthesis import filters
from inranker.synthesis.config import SynthesizeConfig, SynthesizeExecution, SynthesizeIdentity
from inranker.synthesis.generators import GENERATORS, engine
from inranker.synthesis.prompts import Book, from_collection, read_templates
from inranker.synthesis.sampling import draw_examples
from inranker.synthesis.strata import parse_strata

SYNTHESIZE = JobKind("synthesize", "prompt")
UNIT_ROWS = 512
SMALLEST_UNIT_ROWS = 16
UNITS_PER_ACTOR = 8
# Fields that enter the fingerprint by what they stand for instead of by their words.
BY_CONTENT = ("collection", "language", "model", "prompts", "examples_split", "filters", "filter", *GENERATORS)


def open_job(config: SynthesizeConfig) -> tuple[Collection, Book]:
    """The collection and the prompts of a job, whose fields are checked.

    Raises:
        UserError: a field, the collection or a prompt cannot be used.
    """
    chosen = config.identity
    require_sensible(chosen)
    engine(chosen.generator)
    templates = read_templates(chosen.prompts)
    collection = open_collection(chosen.collection, chosen.language, chosen.fix_text)
    pool = draw_examples(collection, chosen) if from_collection(templates) else []
    book = Book(
        templates, pool, chosen.examples, chosen.passage_words, collection.language, chosen.decoding.max_tokens,
        chosen.seed,
    )  # fmt: skip
    return collection, book


def require_sensible(chosen: SynthesizeIdentity) -> None:
    """Refuse fields that make no job.

    Raises:
        UserError: naming the field.
    """
    least = {"queries_per_passage": 1, "examples": 1, "passage_words": 1, "shard_rows": 1, "min_characters": 0}
    least |= {name: 1 for name in ("passages", "max_characters", "example_pool") if getattr(chosen, name) is not None}
    for name, bound in least.items():
        if getattr(chosen, name) < bound:
            raise UserError(f"field {name} is {getattr(chosen, name)}; give it {bound} or more")
    decoding = chosen.decoding
    for name, fine, wanted in (
        ("temperature", decoding.temperature >= 0, "0 or more"),
        ("top_p", 0 < decoding.top_p <= 1, "more than 0 and at most 1"),
        ("top_k", decoding.top_k >= 0, "0 or more"),
        ("max_tokens", decoding.max_tokens >= 1, "1 or more"),
    ):
        if not fine:
            raise UserError(f"field decoding.{name} is {getattr(decoding, name)}; give it {wanted}")
    if chosen.strata is not None:
        parse_strata(chosen.strata)
    varied = decoding.temperature > 0 or len(chosen.prompts) > 1 or (chosen.example_pool or 0) > chosen.examples
    if chosen.queries_per_passage > 1 and not varied:
        raise UserError(
            f"field queries_per_passage is {chosen.queries_per_passage} and decoding.temperature 0, which writes one "
            "query so many times; give it a temperature such as 0.7"
        )


def engine_settings(config: SynthesizeConfig) -> tuple[Any, Any]:
    """The engine's own parts of `identity` and `execution`; None where it has none."""
    name = config.identity.generator
    return getattr(config.identity, name, None), getattr(config.execution, name, None)


def job_identity(config: SynthesizeConfig, collection: Collection, book: Book) -> dict[str, Any]:
    """What the queries depend on: passages, model, prompts and examples by content, and every other field."""
    chosen = config.identity
    settings = engine_settings(config)[0]
    return {
        **{name: value for name, value in plain(chosen).items() if name not in BY_CONTENT},
        "collection": collection.name,
        "content_hash": collection.passages_hash(),
        "language": collection.language,
        "model": engine(chosen.generator).model_identity(chosen.model, settings),
        "prompts": {each.name: fingerprint(each) for each in book.templates},
        "shown": fingerprint(book.pool) if book.pool else None,
        "filters": filters.identity(chosen.filters, chosen.filter, collection.language),
    }


def chosen_unit_rows(collection: Collection, config: SynthesizeConfig) -> int:
    """Prompts of a unit of a job that starts now."""
    chosen, execution = config.identity, config.execution
    if execution.unit_rows:
        return execution.unit_rows
    passages = collection.counts()["passages"]
    total = min(passages, chosen.passages or passages) * chosen.queries_per_passage
    return default_unit_rows(total, execution)


def default_unit_rows(total: int, execution: SynthesizeExecution) -> int:
    """See `unit_rows_for`; a prompt takes far longer than a pair takes to score."""
    actors = execution.max_actors or execution.actors
    return unit_rows_for(total, actors, UNIT_ROWS, SMALLEST_UNIT_ROWS, UNITS_PER_ACTOR)
