"""The report of a label job: what the teacher thinks of the pairs, and how the job went."""

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from inranker.errors import UserError
from inranker.labeling.config import LabelConfig
from inranker.labeling.read import iter_labelled_pairs
from inranker.labeling.rows import from_parquet
from inranker.manifest import Manifest, read_manifest, read_shard
from inranker.report.charts import Axis, Row, Series, histogram_rows, lines, overlay, padded
from inranker.report.job import custody, fields, write_report
from inranker.report.page import (
    Html,
    Section,
    charts,
    details,
    duration,
    finding,
    findings,
    number,
    page,
    paragraph,
    share,
    shorten,
    table,
    tiles,
)
from inranker.report.streams import Extremes, Histogram, Sample
from inranker.storage import Store
from inranker.units import Receipt, finished_units, read_receipt

SHOWN = 50  # positives the teacher doubts, and negatives it loves
POINTS = 1500
BINS = 48
RECEIPT_READERS = 16
INTERVALS = 60  # of the throughput chart
QUARANTINE_EXAMPLES = 20
# Bands of first-stage ranks: (name, lowest rank); what has no rank was not retrieved.
BANDS = (("1–10", 1), ("11–100", 11), ("101–1,000", 101), ("over 1,000", 1001))
# Four steps a factor of ten, for the curve of the margin over the rank.
RANK_STEPS = np.unique(np.round(10.0 ** (np.arange(0, 25) / 4)).astype(np.int64))


def report(config: LabelConfig) -> dict[str, Any]:
    """Write `report.html` into a finished label job's output.

    Returns:
        `stage`, `output` and the page's URL as `report`.

    Raises:
        UserError: the job is unfinished, or its pairs or shards are not those of its manifest.
    """
    store = Store(config.output)
    manifest = read_manifest(store)
    figures = LabelFigures()
    for rows in iter_labelled_pairs(config.output, config.identity.pairs):
        figures.add(rows)
    receipts = read_receipts(store)
    sections = [
        Section("Margins", margins(figures)),
        Section("Pairs worth a look", surprises(figures)),
        Section("Tokens", tokens(figures)),
        Section("Throughput", throughput(receipts)),
        Section("Quarantine", quarantine(store, manifest, receipts)),
        Section("Audit", audit(manifest)),
        Section("Made from", [custody(manifest), details("Identity", fields(manifest.identity, "Identity"))]),
    ]
    teacher = manifest.inputs.get("teacher", {}).get("path", "the teacher")
    html = page("Label job", f"Logits of {teacher} for {number(figures.rows)} pairs.", [head(manifest), *sections])
    return {"stage": "report", "output": config.output, "report": write_report(store, html)}


def read_receipts(store: Store) -> list[Receipt]:
    """The receipts of a job, in the order of its units; none where labels came from elsewhere."""
    with ThreadPoolExecutor(RECEIPT_READERS) as pool:
        return list(pool.map(lambda name: read_receipt(store, name), sorted(finished_units(store))))


class LabelFigures:
    """What a report shows of any number of labelled pairs, in bounded memory."""

    def __init__(self) -> None:
        self.rows = self.truncated = 0
        self.bands: dict[str, Histogram] = {}
        self.logits = {"true": Histogram(), "false": Histogram()}
        self.tokens = Histogram()
        self.by_rank = {kind: [Histogram() for _ in RANK_STEPS] for kind in ("positive", "negative")}
        self.points = Sample(POINTS, columns=3)
        self.doubted, self.loved = Extremes(SHOWN), Extremes(SHOWN)

    def add(self, table: pa.Table) -> None:
        """Count labelled pairs: columns of `iter_labelled_pairs`."""
        true, false = (table[f"{side}_logit"].to_numpy() for side in ("true", "false"))
        margin = true.astype(np.float64) - false
        # Imported labels may not say which pairs are judged relevant.
        positive, negative = (
            pc.fill_null(pc.equal(table["kind"], kind), False).to_numpy(zero_copy_only=False)
            for kind in ("positive", "negative")
        )
        rank = pc.fill_null(table["rank"], 0).to_numpy()
        self.rows += table.num_rows
        self.truncated += int(pc.sum(table["truncated"]).as_py() or 0)
        self.tokens.add(table["n_tokens"].to_numpy())
        self.logits["true"].add(true)
        self.logits["false"].add(false)
        for name, chosen in band_masks(positive, negative, rank):
            if chosen.any():
                self.bands.setdefault(name, Histogram()).add(margin[chosen])
        ranked = rank > 0
        step = np.searchsorted(RANK_STEPS, rank, side="right") - 1
        for kind, of_kind in (("positive", positive), ("negative", negative)):
            for place in np.unique(step[ranked & of_kind]):
                self.by_rank[kind][place].add(margin[ranked & of_kind & (step == place)])
        self.points.add(np.stack([rank[ranked], margin[ranked], positive[ranked]], axis=1))
        offer(self.doubted, table, np.where(positive, -margin, np.nan), margin)
        offer(self.loved, table, np.where(negative, margin, np.nan), margin)


def offer(extremes: Extremes, table: pa.Table, keys: np.ndarray, margin: np.ndarray) -> None:
    """Offer the rows whose key is a number, looking texts up for those that may stay."""
    places = extremes.wanted(keys)
    columns = ("query_id", "passage_id", "query", "passage", "rank")
    rows = table.select(list(columns)).take(places).to_pylist()
    items = [{**row, "margin": float(margin[place])} for row, place in zip(rows, places, strict=True)]
    extremes.add(keys[places], items)


def band_masks(positive: np.ndarray, negative: np.ndarray, rank: np.ndarray) -> Iterable[tuple[str, np.ndarray]]:
    """The bands that margins are counted in, with the rows of each: bool [n]."""
    yield "positive, retrieved", positive & (rank > 0)
    yield "positive, not retrieved", positive & (rank <= 0)
    above = [low for _, low in BANDS[1:]] + [np.iinfo(np.int32).max]
    for (name, low), stop in zip(BANDS, above, strict=True):
        yield f"negative, rank {name}", negative & (rank >= low) & (rank < stop)
    yield "negative, no rank", negative & (rank <= 0)
    yield "judgment unknown", ~positive & ~negative


def head(manifest: Manifest) -> Section:
    """The figures one looks for first."""
    counts, figures = manifest.counts, manifest.figures
    labelled = counts.get("labelled", 0)
    seconds, tokens_ = figures.get("scoring_seconds"), figures.get("tokens")
    shown = [("pairs", number(counts.get("pairs"))), ("labelled", number(labelled))]
    shown.append(("quarantined", number(counts.get("quarantined"))))
    if tokens_:
        shown += [("tokens", number(tokens_)), ("tokens a pair", number(tokens_ / max(1, labelled), 1))]
    if seconds:
        shown += [("scoring, all actors", duration(seconds)), ("pairs/s an actor", number(labelled / seconds, 1))]
    return Section("At a glance", [tiles(shown)])


def margins(figures: LabelFigures) -> list[Html]:
    """Histograms of the margin by kind and rank band, the margin over the rank, and both as a table."""
    if not figures.bands:
        return []
    bands = figures.bands
    low, high = padded(min(h.lowest for h in bands.values()), max(h.highest for h in bands.values()))
    rows = [Row(name, h.over(low, high, BINS).tolist(), int("positive" not in name)) for name, h in bands.items()]
    both = figures.logits
    ends = padded(min(h.lowest for h in both.values()), max(h.highest for h in both.values()))
    raw = [
        Row(f"{side} logit", h.over(*ends, BINS).tolist(), 2 + place) for place, (side, h) in enumerate(both.items())
    ]
    told = "Each row has its own height; the number is how many pairs it counts."
    body = [
        paragraph("The margin is the true logit minus the false one: what the teacher ranks by."),
        charts(
            histogram_rows("Margin by kind and first-stage rank", Axis("margin", low, high), rows, told),
            *over_rank(figures, low, high),
            histogram_rows("Raw logits", Axis("logit", *ends), raw, "As stored: not centred, not scaled."),
        ),
    ]
    cells = [
        (name, h.count, h.mean, *(h.quantile(q) for q in (0.1, 0.5, 0.9)), h.lowest, h.highest)
        for name, h in bands.items()
    ]
    columns = ("pairs", "count", "mean", "10 %", "median", "90 %", "lowest", "highest")
    return [*body, details("The same as a table", table(columns, cells, "Margins by kind and first-stage rank"))]


def over_rank(figures: LabelFigures, low: float, high: float) -> list[Html]:
    """The margin over the first-stage rank: sampled pairs, and the median with the middle 80 % around it."""
    curves, points = [], []
    for colour, kind in enumerate(("positive", "negative")):
        held = [(rank, h) for rank, h in zip(RANK_STEPS.tolist(), figures.by_rank[kind], strict=True) if h.count]
        chosen = figures.points.rows[figures.points.rows[:, 2] == float(kind == "positive")]
        points.append(Series(kind, chosen[:, 0].tolist(), chosen[:, 1].tolist(), colour))
        edges = tuple([h.quantile(q) for _, h in held] for q in (0.1, 0.9))
        medians = [h.quantile(0.5) for _, h in held]
        curves.append(Series("", [rank for rank, _ in held], medians, colour, (edges[0], edges[1])))
    ranks = [rank for curve in curves for rank in curve.x]
    if not ranks:
        return []
    axis = Axis("first-stage rank", 1, max(figures.points.rows[:, 0].max(), *ranks, 2), log=True)
    told = f"Lines: medians, with the middle 80 % shaded. Points: {len(figures.points.rows):,} pairs drawn at random."
    return [overlay("Margin over first-stage rank", axis, Axis("margin", low, high), points, curves, told)]


def surprises(figures: LabelFigures) -> list[Html]:
    """The positives the teacher doubts most and the negatives it loves most, with their texts."""
    parts = []
    for title, extremes in (
        ("Positives the teacher doubts: wrong judgments, or what it cannot see", figures.doubted),
        ("Negatives it loves: relevant but unjudged, or what fools it", figures.loved),
    ):
        items = [item for _, item in extremes.best()]
        if items:
            found = [finding(_figures(item), item["query"], item["passage"]) for item in items]
            parts.append(findings(f"{title} ({len(items)})", found))
    return parts


def _figures(item: dict[str, Any]) -> str:
    true = float(1 / (1 + np.exp(-np.clip(item["margin"], -80, 80))))
    rank = f"rank {number(item['rank'])}" if item["rank"] is not None else "not retrieved"
    ids = f"{shorten(item['query_id'], 80)} / {shorten(item['passage_id'], 80)}"
    return f"margin {number(item['margin'])} · P(true) {number(true)} · {rank} · {ids}"


def tokens(figures: LabelFigures) -> list[Html]:
    """Lengths as scored, and how much was cut."""
    if not figures.tokens.count or not figures.tokens.highest:
        return []
    low, high = padded(figures.tokens.lowest, figures.tokens.highest)
    row = Row("pairs", figures.tokens.over(low, high, BINS).tolist(), 2)
    told = f"After truncation; {share(figures.truncated, figures.rows)} of the pairs were cut."
    shown = [
        ("mean", number(figures.tokens.mean, 1)),
        ("median", number(figures.tokens.quantile(0.5), 1)),
        ("longest", number(int(figures.tokens.highest))),
        ("truncated", share(figures.truncated, figures.rows)),
    ]
    return [tiles(shown), histogram_rows("Tokens of a pair", Axis("tokens", low, high), [row], told)]


def throughput(receipts: list[Receipt]) -> list[Html]:
    """Pairs/s over the time of the job, from when each unit was finished."""
    timed = [receipt for receipt in receipts if receipt.figures.keys() >= {"finished_at", "seconds", "tokens"}]
    if not timed:
        return [paragraph("The receipts hold no times.")] if receipts else []
    ended = np.array([receipt.figures["finished_at"] for receipt in timed])
    started = float(min(receipt.figures["finished_at"] - receipt.figures["seconds"] for receipt in timed))
    whole = max(float(ended.max()) - started, 1e-3)
    # A unit counts when it is finished, so an interval must see several finish to say how fast they do.
    intervals = max(1, min(INTERVALS, len(timed) // 4))
    place = np.minimum(((ended - started) / whole * intervals).astype(int), intervals - 1)
    labelled = np.bincount(place, [receipt.data.rows for receipt in timed], intervals)
    tokens_ = np.bincount(place, [receipt.figures["tokens"] for receipt in timed], intervals)
    size, name = (whole, "seconds") if whole < 600 else (whole / 3600, "hours")
    axis = Axis(f"{name} since the first unit began", 0, size)
    middles = [(step + 0.5) * size / intervals for step in range(intervals)]
    told = f"Means over {intervals} intervals of {duration(whole / intervals)}; a pause between two starts shows as 0."
    drawn = []
    for colour, (title, counts) in enumerate((("Pairs a second", labelled), ("Tokens a second", tokens_))):
        rate = (counts / (whole / intervals)).tolist()
        up = Axis(title.lower(), 0, max(*rate, 1e-9) * 1.08)
        drawn.append(lines(title, axis, up, [Series("", middles, rate, colour * 2)], told))
    shown = [("from first to last", duration(whole)), ("units", number(len(timed)))]
    return [tiles([*shown, ("pairs/s overall", number(float(labelled.sum()) / whole, 1))]), charts(*drawn)]


def quarantine(store: Store, manifest: Manifest, receipts: list[Receipt]) -> list[Html]:
    """Pairs that could not be scored, by reason, with examples."""
    held = manifest.counts.get("quarantined", 0)
    if not held:
        return [paragraph("Every pair was labelled.")]
    reasons: Counter[str] = Counter()
    examples: list[tuple[Any, ...]] = []
    for receipt in receipts:
        if receipt.quarantine is None:
            continue
        rows = from_parquet(read_shard(store, receipt.quarantine))
        reasons.update(rows["reason"].to_pylist())
        if len(examples) < QUARANTINE_EXAMPLES:
            examples += [(receipt.unit, *row.values()) for row in rows.to_pylist()]
    counted = sum(reasons.values())
    if counted != held:
        raise UserError(f"{store.url}: the manifest says {held} quarantined, the receipts {counted}; run --verify")
    rows = [(reason, count, share(count, manifest.counts["pairs"])) for reason, count in reasons.most_common()]
    columns = ("unit", "row", "query_id", "passage_id", "reason")
    return [
        table(("reason", "pairs", "of all"), rows, "Quarantined by reason"),
        details("Examples", table(columns, examples[:QUARANTINE_EXAMPLES], "The first of them")),
    ]


def audit(manifest: Manifest) -> list[Html]:
    """What a second scoring of a sample found, where the job made one."""
    found = manifest.figures.get("audit")
    return [fields(found, "Pairs scored a second time, on another actor and in other batches")] if found else []
