"""What `--plan` of any job over units knows: how fast an actor is, and what that costs."""

import random
from collections.abc import Sequence

from inranker.jobs.kind import Costs, JobKind
from inranker.storage import Store
from inranker.units import read_receipts

SAMPLED_RECEIPTS = 64
SEED = 0


def actor_rate(
    kind: JobKind,
    given: float | None,
    execution: Costs,
    store: Store,
    finished: Sequence[str],
    tokens_per_item: float,
    flops_per_item: float,
) -> tuple[float | None, str | None]:
    """Items that one actor does in a second, and where that is known from.

    A given rate comes first, then what this job's finished units took, then a share of the accelerator's peak.
    """
    if given is not None:
        return given, f"{kind.items}_per_second"
    some = random.Random(SEED).sample(list(finished), min(SAMPLED_RECEIPTS, len(finished)))
    figures = [receipt.figures for receipt in read_receipts(store, some)]
    seconds, tokens = (sum(each[name] for each in figures) for name in ("seconds", "tokens"))
    if seconds and tokens and tokens_per_item:
        return tokens / seconds / tokens_per_item, f"{len(some)} finished units"
    if execution.peak_tflops is not None and flops_per_item:
        rate = execution.peak_tflops * 1e12 * execution.utilisation / flops_per_item
        return rate, f"{execution.utilisation:.0%} of peak_tflops"
    return None, None


def time_and_money(kind: JobKind, execution: Costs, count: int, rate: float | None) -> dict[str, float | None]:
    """Rate, hours, actor-hours and cost of so many items; all null where no rate is known."""
    name = f"{kind.items}_per_second"
    if rate is None:
        return {name: None, "hours": None, "actor_hours": None, "cost": None}
    actor_hours = count / rate / 3600
    price = execution.price_per_hour
    return {
        name: round(rate, 2),
        "hours": round(actor_hours / (execution.max_actors or execution.actors), 3),
        "actor_hours": round(actor_hours, 3),
        "cost": None if price is None else round(actor_hours * price, 2),
    }


def render_time_and_money(kind: JobKind, summary: dict[str, float | str | None]) -> str:
    """The same as a line for a person; `rate_from` says where the rate is known from."""
    rate = f"{kind.items}_per_second"
    if summary["hours"] is None:
        return f"hours: not known; give --{rate} or --peak_tflops, or let some units finish"
    cost = "give --price_per_hour to see" if summary["cost"] is None else f"{summary['cost']:,.2f}"
    return (
        f"{summary['hours']:,.2f} hours, {summary['actor_hours']:,.2f} actor-hours at "
        f"{summary[rate]:,} {kind.items}/s an actor ({summary['rate_from']}); cost: {cost}"
    )
