"""The report of a mine job: what the first stage found, how long the passages are, what came twice."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from inranker.errors import UserError
from inranker.manifest import Manifest, read_manifest, read_shard
from inranker.report.charts import Axis, Row, Series, bars, histogram_rows, lines, padded
from inranker.report.job import custody, fields, write_report
from inranker.report.page import Html, Section, charts, details, number, page, share, table, tiles
from inranker.report.streams import Histogram, Tally
from inranker.storage import Store

if TYPE_CHECKING:
    from inranker.mining import MineConfig  # which imports this module

BINS = 40
MEASURED = 50_000  # passages whose length is taken
COLUMNS = ["query_id", "passage_id", "query", "passage", "kind", "rank", "source", "language"]
BANDS = (("1", 1), ("2–10", 2), ("11–100", 11), ("101–1,000", 101), ("over 1,000", 1001))
# Four steps a factor of ten, for the curve of recall over depth.
RANK_STEPS = np.unique(np.round(10.0 ** (np.arange(0, 25) / 4)).astype(np.int64))

Lengths = Callable[[Sequence[str]], list[int]]


def report(config: "MineConfig") -> dict[str, Any]:
    """Write `report.html` into a finished mine job's output.

    Returns:
        `stage`, `output` and the page's URL as `report`.

    Raises:
        UserError: the job is unfinished, a shard is missing or differs, or the tokenizer cannot be loaded.
    """
    store = Store(config.output)
    manifest = read_manifest(store)
    if manifest.stage in ("label", "train", "evaluate"):  # mined, imported and aligned pairs are all alike
        raise UserError(f"{store.url} is the output of stage {manifest.stage!r}; name a directory of pairs")
    unit, measure = length_measure(config.execution.report_tokenizer)
    figures = PairFigures(measure, -(-MEASURED // max(1, len(manifest.shards))), config.identity.seed)
    for shard in manifest.shards:
        figures.add(pq.read_table(pa.BufferReader(read_shard(store, shard)), columns=COLUMNS))
    sections = [
        Section("At a glance", [tiles(at_a_glance(figures))]),
        Section("Positives in the first stage", ranks_of_positives(figures)),
        Section("Candidates", candidates(figures)),
        Section("Lengths", lengths(figures, unit)),
        Section("Duplicates", duplicates(figures)),
        Section("Counts", [table(("count", ""), sorted(manifest.counts.items()), "Of the collection and the job")]),
        Section("Made from", [custody(manifest), details("Identity", fields(manifest.identity, "Identity"))]),
    ]
    html = page("Mine job", _about(manifest), sections)
    return {"stage": "report", "output": config.output, "report": write_report(store, html)}


def length_measure(tokenizer: str | None) -> tuple[str, Lengths]:
    """What lengths are counted in, and how: a tokenizer's tokens, or words between white space.

    Raises:
        UserError: the tokenizer cannot be loaded.
    """
    if tokenizer is None:
        return "words", lambda texts: [len(text.split()) for text in texts]
    from inranker.rerankers.checkpoint import load_tokenizer, local_path

    place = Path(tokenizer)  # a directory may hold a tokenizer and no model
    loaded = load_tokenizer(place if place.is_dir() else local_path(tokenizer))
    loaded.backend_tokenizer.no_truncation()

    def tokens(texts: Sequence[str]) -> list[int]:
        encodings = loaded.backend_tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding.ids) for encoding in encodings]

    return "tokens", tokens


class PairFigures:
    """What a report shows of any number of pairs, in bounded memory.

    Args:
        measure: lengths of texts.
        passages: how many of each shard are measured.
        seed: draws them.
    """

    def __init__(self, measure: Lengths, passages: int, seed: int) -> None:
        self.measure, self.passages = measure, passages
        self.generator = np.random.default_rng(seed)
        self.rows = self.missed = 0
        self.steps = np.zeros(len(RANK_STEPS), dtype=np.int64)  # positives by the last of RANK_STEPS they reach
        self.bands: Counter[str] = Counter()
        self.sources: Counter[tuple[str, str, str]] = Counter()
        self.per_query = {"positive": Tally(), "negative": Tally()}
        self.negative_ranks, self.lengths = Histogram(), Histogram()
        self.texts, self.ids, self.pairs = Tally(), Tally(), Tally()

    def add(self, rows: pa.Table) -> None:
        """Count pairs: the columns of a pairs shard."""
        self.rows += rows.num_rows
        positive_N = pc.equal(rows["kind"], "positive").to_numpy(zero_copy_only=False)
        rank_N = pc.fill_null(rows["rank"], 0).to_numpy()
        found_N = rank_N[positive_N]
        self.missed += int((found_N <= 0).sum())
        for (name, low), stop in zip(BANDS, [*(low for _, low in BANDS[1:]), np.inf], strict=True):
            self.bands[name] += int(((found_N >= low) & (found_N < stop)).sum())
        place = np.searchsorted(RANK_STEPS, found_N[found_N > 0], side="left")
        self.steps += np.bincount(np.minimum(place, len(self.steps) - 1), minlength=len(self.steps))
        negative_N = rank_N[~positive_N]
        self.negative_ranks.add(negative_N[negative_N > 0])
        for kind, chosen_N in (("positive", positive_N), ("negative", ~positive_N)):
            self.per_query[kind].add(rows["query_id"].filter(pa.array(chosen_N)))
        self.sources.update(zip(*(rows[name].to_pylist() for name in ("source", "language", "kind")), strict=True))
        self.texts.add(rows["passage"])
        self.ids.add(rows["passage_id"])
        self.pairs.add(pc.binary_join_element_wise(rows["query"], rows["passage"], "\x00"))
        drawn = np.sort(self.generator.permutation(rows.num_rows)[: self.passages])
        self.lengths.add(np.array(self.measure(rows["passage"].take(pa.array(drawn)).to_pylist())))


def at_a_glance(figures: PairFigures) -> list[tuple[str, str]]:
    """The figures one looks for first."""
    positives, negatives = (figures.per_query[kind].repeats() for kind in ("positive", "negative"))
    return [
        ("pairs", number(figures.rows)),
        ("queries", number(positives.distinct)),
        ("positives", number(positives.rows)),
        ("negatives", number(negatives.rows)),
        ("positives the first stage misses", share(figures.missed, positives.rows)),
        ("distinct passages", number(figures.ids.repeats().distinct)),
    ]


def ranks_of_positives(figures: PairFigures) -> list[Html]:
    """Where the first stage ranks what is relevant, and what share it finds by depth."""
    positives = figures.per_query["positive"].rows
    if not positives:
        return []
    names = [*figures.bands, "not retrieved"]
    counts = [*figures.bands.values(), figures.missed]
    told = f"Of {number(positives)} positives; those not retrieved are pairs all the same."
    found = [*(np.cumsum(figures.steps) / positives)]
    last = int(np.flatnonzero(figures.steps)[-1]) + 1 if figures.steps.any() else 1
    curve = Series("", RANK_STEPS[:last].tolist(), [float(part) for part in found[:last]], 2)
    deep = Axis("first-stage rank", 1, max(2, int(RANK_STEPS[last - 1])), log=True)
    about = "Share of the positives found at this rank or above: what re-ranking to that depth can reach."
    return [
        charts(
            bars("Ranks of positives", names, counts, told),
            lines("Positives found by depth", deep, Axis("share", 0, 1), [curve], about),
        )
    ]


def candidates(figures: PairFigures) -> list[Html]:
    """Pairs of a query, and the ranks that negatives were drawn from."""
    rows, both = [], []
    for colour, (kind, tally) in enumerate(figures.per_query.items()):
        held = Histogram()
        held.add(tally.counts())
        if held.count:
            both.append((f"queries by {kind}s", held, colour))
    if not both:
        return []
    high = int(max(held.highest for _, held, _ in both))
    bins = min(high, BINS)
    axis = Axis("pairs of a query", 0.5, high + 0.5)
    rows = [Row(name, held.over(axis.low, axis.high, bins).tolist(), colour) for name, held, colour in both]
    drawn = [histogram_rows("Pairs of a query", axis, rows, "How many queries have so many pairs of each kind.")]
    if (ranks := figures.negative_ranks).count:
        ends = padded(ranks.lowest, ranks.highest)
        row = Row("negatives", ranks.over(*ends, BINS).tolist(), 1)
        drawn.append(histogram_rows("Ranks of negatives", Axis("first-stage rank", *ends), [row], "As drawn."))
    by_source = [(*key, count) for key, count in sorted(figures.sources.items())]
    columns = ("source", "language", "kind", "pairs")
    return [charts(*drawn), details("By source", table(columns, by_source, "Pairs by source, language and kind"))]


def lengths(figures: PairFigures, unit: str) -> list[Html]:
    """How long passages are."""
    held = figures.lengths
    if not held.count:
        return []
    ends = padded(held.lowest, held.highest)
    row = Row("passages", held.over(*ends, BINS).tolist(), 2)
    told = f"Of {number(held.count)} passages of pairs, drawn at random over all shards; titles included, queries not."
    shown = [("mean", held.mean), *((f"{100 * q:g} %", held.quantile(q)) for q in (0.5, 0.9, 0.99))]
    return [
        tiles((f"{name}, {unit}", number(value, 1)) for name, value in [*shown, ("longest", held.highest)]),
        histogram_rows(f"Passage length in {unit}", Axis(unit, *ends), [row], told),
    ]


def duplicates(figures: PairFigures) -> list[Html]:
    """Texts that come more than once, under one id or several."""
    texts, ids, pairs = figures.texts.repeats(), figures.ids.repeats(), figures.pairs.repeats()
    # With as many texts as ids, no text has two; the estimates of very big sets may cross.
    twins = max(0, ids.distinct - texts.distinct)
    rows = [
        ("passage texts under more than one id", twins, share(twins, ids.distinct)),
        ("pairs with the texts of another pair", pairs.repeated, share(pairs.repeated, pairs.rows)),
        ("pairs of a passage used before", ids.repeated, share(ids.repeated, ids.rows)),
    ]
    about = "estimated from a sample of the texts" if texts.estimated or pairs.estimated else "exact"
    return [table(("what", "count", "of all"), rows, f"Duplicates ({about})")]


def _about(manifest: Manifest) -> str:
    source = manifest.inputs.get("collection", {})
    return f"Pairs of {source.get('name', 'a collection')}, split {source.get('split', '–')}."
