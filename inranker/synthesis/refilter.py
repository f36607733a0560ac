"""Filter queries that were generated before: other filters, other fields, or what the teacher said of them since.

Reads the raw generations of a finished synthesis, so nothing is generated, and nothing paid, again. The teacher's
margin can only be asked for here: synthesize, mine, label, then filter by those labels.
"""

import time
from dataclasses import dataclass, field
from typing import Any

from inranker.errors import UserError
from inranker.fingerprint import fingerprint
from inranker.manifest import Manifest, claim_output, read_manifest, write_manifest
from inranker.report.job import report_or_warn
from inranker.report.synthesize import report
from inranker.storage import Store
from inranker.synthesis.collect import write_queries
from inranker.synthesis.filters import Context, FilterExecution, FilterOptions, identity
from inranker.synthesis.links import SHOWN, open_linked, raw_tables, read_synthesis, synthesis_link

STAGE = "filter_queries"


@dataclass(frozen=True)
class RefilterIdentity:
    """What the query set depends on."""

    synthesis: str
    """Directory or URL of a finished synthesis."""
    filters: list[str]
    """Filters, applied in this order: length, copied, duplicates, near_duplicates, language, log_prob, reranker,
    round_trip, teacher_margin."""
    filter: FilterOptions = field(default_factory=FilterOptions)
    """What each filter keeps."""


@dataclass(frozen=True)
class RefilterExecution(FilterExecution):
    """How the job is run."""

    write_report: bool = True
    """Write report.html when the job is done."""


@dataclass(frozen=True)
class RefilterConfig:
    """Filter the queries of a finished synthesis anew."""

    identity: RefilterIdentity
    """What the result depends on."""
    output: str
    """Directory or URL to write the query set to."""
    execution: RefilterExecution = field(default_factory=RefilterExecution)
    """How the job is run."""


def refilter(config: RefilterConfig) -> dict[str, Any]:
    """Run the stage; an output that is finished already is left as it is.

    Returns:
        The counts of the query set, what each filter kept, and whether the work was `skipped`.

    Raises:
        UserError: no filter or a wrong one, a synthesis that is unfinished or changed, or an output of another job.
    """
    started = time.monotonic()
    reported: dict[str, Any] = {}
    chosen = config.identity
    source, made, _ = read_synthesis(chosen.synthesis)
    if made.stage == STAGE:
        raise UserError(
            f"{source.url} was filtered from another query set; name the synthesis that it comes from, with all filters"
        )
    if not chosen.filters:
        raise UserError("field filters is empty; name at least one filter")
    link = made.inputs["collection"]
    collection = open_linked(link)
    told = {
        "synthesis": made.content_hash,
        "filters": identity(chosen.filters, chosen.filter, collection.language),
    }
    store = Store(config.output)
    if not (finished := claim_output(store, STAGE, told)):
        context = Context(collection, chosen.filter, config.execution)
        collected = write_queries(store, raw_tables(source, made), chosen.filters, context)
        inputs = {"collection": link, "synthesis": synthesis_link(chosen.synthesis, made, config.output)}
        inputs |= {SHOWN: made.inputs[SHOWN]} if SHOWN in made.inputs else {}
        shards = [collected.shard]
        write_manifest(
            store, Manifest(STAGE, fingerprint(told), told, inputs, shards, collected.counts, collected.figures)
        )
        if config.execution.write_report:
            reported = report_or_warn(lambda: report(config), "filter_queries.py … --report")
    manifest = read_manifest(store)
    return {
        "stage": STAGE,
        "output": config.output,
        "skipped": finished,
        "fingerprint": manifest.fingerprint,
        "counts": manifest.counts,
        **manifest.figures,
        "seconds": round(time.monotonic() - started, 3),
        **reported,
    }
