"""The report of a synthesis: queries beside their passages, what filters kept, how queries look, what they cost."""

from collections import Counter, defaultdict
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from inranker.labeling.read import existing_location
from inranker.manifest import Manifest, read_manifest, read_shard
from inranker.report.charts import Axis, Row, bars, histogram_rows, padded
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
    table,
    tiles,
)
from inranker.report.streams import Extremes, Histogram
from inranker.storage import Store
from inranker.synthesis.filters.text import words
from inranker.synthesis.kinds import KINDS, query_kind
from inranker.synthesis.links import raw_tables, read_synthesis

BINS = 40
EXAMPLES = 20  # queries shown that were kept, and of each filter half as many that it dropped
ROWS_AT_A_TIME = 20_000
RANKS = (1, 3, 10, 100)
FIXED = {"query_id", "query", "passage_id", "prompt", "sample", "source", "language", "dropped_by", "prompt_tokens"}
Key = tuple[str, str, int]
"""Passage, prompt and sample: what a query was asked by."""


class Finished(Protocol):
    """The config of a stage that wrote a query set."""

    @property
    def output(self) -> str:
        """Where it lies."""


def report(config: Finished) -> dict[str, Any]:
    """Write `report.html` into a finished query set, of synthesize.py or filter_queries.py.

    Returns:
        `stage`, `output` and the page's URL as `report`.

    Raises:
        UserError: the job is unfinished, or a file is missing or differs.
    """
    store, manifest, shard = read_synthesis(config.output)
    figures = QueryFigures()
    file = pq.ParquetFile(pa.BufferReader(read_shard(store, shard)))
    for batch in file.iter_batches(ROWS_AT_A_TIME):
        figures.add(pa.Table.from_batches([batch]))
    passages = read_passages(store, manifest, figures.keys())
    sections = [
        Section("At a glance", [tiles(at_a_glance(figures, manifest))]),
        Section("Filters", filters(manifest)),
        Section("Queries", queries(figures)),
        Section("Round trip", round_trip(figures)),
        Section("Examples", examples(figures, passages)),
        Section("Cost", cost(manifest)),
        Section("Counts", [table(("count", ""), sorted(manifest.counts.items()), "Of the job")]),
        Section("Made from", [custody(manifest), details("Identity", fields(manifest.identity, "Identity"))]),
    ]
    source = manifest.inputs["collection"]["name"]
    about = f"Queries that a language model wrote for passages of {source}."
    shown = [section for section in sections if section.body]
    return {
        "stage": "report",
        "output": config.output,
        "report": write_report(store, page("Synthesized queries", about, shown)),
    }


class QueryFigures:
    """What a report shows of any number of queries, in bounded memory."""

    def __init__(self) -> None:
        self.rows = 0
        self.kept = 0
        self.kinds: dict[str, Counter[str]] = {"kept": Counter(), "dropped": Counter()}
        self.words, self.log_probs, self.tokens = ({"kept": Histogram(), "dropped": Histogram()} for _ in range(3))
        self.ranks: Counter[int] = Counter()
        self.ranked = 0
        self.prompts: Counter[tuple[str, bool]] = Counter()
        self.drawn: dict[str, Extremes] = defaultdict(lambda: Extremes(EXAMPLES // 2))
        self.drawn["kept"] = Extremes(EXAMPLES)

    def add(self, rows: pa.Table) -> None:
        """Count queries: rows of a query set."""
        self.rows += rows.num_rows
        kept_N = rows["dropped_by"].is_null().to_numpy(zero_copy_only=False)
        self.kept += int(kept_N.sum())
        texts, languages = rows["query"].to_pylist(), rows["language"].to_pylist()
        words_N = np.array([len(words(text)) for text in texts], dtype=np.int64)
        for name, chosen_N in (("kept", kept_N), ("dropped", ~kept_N)):
            self.words[name].add(words_N[chosen_N])
            self.log_probs[name].add(_floats(rows, "mean_log_prob")[chosen_N])
            self.tokens[name].add(_floats(rows, "n_tokens")[chosen_N])
        for text, language, kept in zip(texts, languages, kept_N.tolist(), strict=True):
            self.kinds["kept" if kept else "dropped"][query_kind(text, language)] += 1
        self.prompts.update(zip(rows["prompt"].to_pylist(), kept_N.tolist(), strict=True))
        if "round_trip_rank" in rows.column_names:
            self._add_ranks(rows)
        self._draw(rows)

    def _add_ranks(self, rows: pa.Table) -> None:
        # A query that an earlier filter dropped was never asked; one whose passage was not found has no rank either.
        found = rows["round_trip_rank"].drop_null().to_pylist()
        self.ranks.update(found)
        asked = pc.or_(rows["dropped_by"].is_null(), pc.fill_null(pc.equal(rows["dropped_by"], "round_trip"), False))
        self.ranked += max(pc.sum(asked).as_py() or 0, len(found))

    def _draw(self, rows: pa.Table) -> None:
        """A sample by the queries' own ids, which are hashes: the same whatever the order."""
        keys_N = np.array([int(name[1:13], 16) / 2**48 for name in rows["query_id"].to_pylist()])
        reasons = np.array([reason or "kept" for reason in rows["dropped_by"].to_pylist()], dtype=object)
        for reason in sorted(set(reasons.tolist())):
            places = np.flatnonzero(reasons == reason)
            wanted = places[self.drawn[reason].wanted(keys_N[places])]
            self.drawn[reason].add(keys_N[wanted], rows.take(pa.array(wanted)).to_pylist())

    def keys(self) -> set[Key]:
        """What the queries shown were asked by."""
        return {_key(row) for drawn in self.drawn.values() for _, row in drawn.best()}


def read_passages(store: Store, manifest: Manifest, keys: set[Key]) -> dict[Key, str]:
    """Passages of some queries, found among the raw generations of the synthesis, or of the one that the query set was
    filtered from.

    Raises:
        UserError: those are gone, or differ from their sha256.
    """
    if link := manifest.inputs.get("synthesis"):
        store = Store(existing_location(store.url, link))
        manifest = read_manifest(store)
    found: dict[Key, str] = {}
    for rows in raw_tables(store, manifest):
        columns = (rows[name].to_pylist() for name in ("passage_id", "prompt", "sample"))
        places = [place for place, key in enumerate(zip(*columns, strict=True)) if key in keys]
        for row in rows.take(pa.array(places, pa.int64())).to_pylist():
            found[_key(row)] = row["passage"]
    return found


def at_a_glance(figures: QueryFigures, manifest: Manifest) -> list[tuple[str, str]]:
    """The figures one looks for first."""
    kinds = figures.kinds["kept"]
    held = figures.log_probs["kept"]
    return [
        ("queries kept", number(figures.kept)),
        ("of those generated", share(figures.kept, figures.rows)),
        ("passages with a query", number(manifest.counts["passages_with_query"])),
        ("median words", number(figures.words["kept"].quantile(0.5), 1)),
        ("questions", share(kinds["question"], figures.kept)),
        ("mean log-probability", number(held.mean) if held.count else "–"),
    ]


def filters(manifest: Manifest) -> list[Html]:
    """What each filter was given and kept."""
    steps = manifest.figures.get("filters") or []
    if not steps:
        return [paragraph("No filter: every generated query stays, as in the paper's own recipe.")]
    rows = [(step["filter"], step["queries"], step["kept"], share(step["kept"], step["queries"])) for step in steps]
    names = ["generated", *(step["filter"] for step in steps)]
    left = [steps[0]["queries"], *(step["kept"] for step in steps)]
    return [
        charts(
            bars("Left after each filter", names, left, "Queries, in the order in which the filters were applied."),
            table(("filter", "queries in", "kept", "yield"), rows, "Yield of each filter"),
        )
    ]


def queries(figures: QueryFigures) -> list[Html]:
    """How long and how likely queries are, and what kinds they are of."""
    drawn = [
        bars(
            "Kinds of queries kept",
            list(KINDS),
            [figures.kinds["kept"][kind] for kind in KINDS],
            "A guess from question marks and function words.",
        )
    ]
    for title, unit, held in (
        ("Length", "words", figures.words),
        ("Tokens generated", "tokens", figures.tokens),
        ("Mean log-probability of a query's tokens", "natural log", figures.log_probs),
    ):
        if chart := _histogram(title, unit, held):
            drawn.append(chart)
    rows = [
        (prompt, figures.prompts[prompt, True], figures.prompts[prompt, False])
        for prompt in sorted({name for name, _ in figures.prompts})
    ]
    return [charts(*drawn), table(("prompt", "kept", "dropped"), rows, "By prompt")]


def _histogram(title: str, unit: str, held: dict[str, Histogram]) -> Html | None:
    counted = {name: one for name, one in held.items() if one.count}
    if not counted:
        return None
    ends = padded(min(one.lowest for one in counted.values()), max(one.highest for one in counted.values()))
    rows = [Row(name, one.over(*ends, BINS).tolist(), 2 if name == "kept" else 1) for name, one in counted.items()]
    return histogram_rows(title, Axis(unit, *ends), rows, "Of the queries that were kept, and of those dropped.")


def round_trip(figures: QueryFigures) -> list[Html]:
    """Where a query's own passage stands in what it retrieves."""
    if not figures.ranked:
        return []
    rows = []
    for depth in RANKS:
        count = sum(times for rank, times in figures.ranks.items() if rank <= depth)
        rows.append((f"first {depth}", count, share(count, figures.ranked)))
    lost = figures.ranked - sum(figures.ranks.values())
    rows.append(("not found", lost, share(lost, figures.ranked)))
    caption = f"The source passage of {number(figures.ranked)} queries in what they retrieve"
    return [table(("among the", "queries", "share"), rows, caption)]


def examples(figures: QueryFigures, passages: dict[Key, str]) -> list[Html]:
    """Queries side by side with their passages and scores, kept ones first."""
    shown = []
    for reason in sorted(figures.drawn, key=lambda name: (name != "kept", name)):
        items = [finding(_scores(row), row["query"], passages[_key(row)]) for _, row in figures.drawn[reason].best()]
        if items:
            shown.append(findings("Kept" if reason == "kept" else f"Dropped by {reason}", items))
    return shown


def _scores(row: dict[str, Any]) -> str:
    given = {name: value for name, value in row.items() if name not in FIXED and value is not None}
    told = [f"{name.replace('_', ' ')} {number(value)}" for name, value in given.items()]
    return " · ".join([row["passage_id"], row["prompt"], *told])


def cost(manifest: Manifest) -> list[Html]:
    """Tokens, time and money; of a synthesis alone, since filtering generates nothing."""
    figures = manifest.figures
    if "generated_tokens" not in figures:
        return []
    seconds, kept = figures["generating_seconds"], manifest.counts["kept"]
    told = [
        ("tokens read and written", number(figures["tokens"])),
        ("of those written", number(figures["generated_tokens"])),
        ("time of the engines", duration(seconds)),
        ("tokens written a second", number(figures["generated_tokens"] / seconds, 1) if seconds else "–"),
    ]
    if spent := figures.get("spent"):
        told += [("spent", number(spent)), ("spent on a query kept", number(spent / kept) if kept else "–")]
    return [tiles(told)]


def _key(row: dict[str, Any]) -> Key:
    return row["passage_id"], row["prompt"], row["sample"]


def _floats(rows: pa.Table, name: str) -> np.ndarray:
    return np.asarray(rows[name].to_numpy(zero_copy_only=False), dtype=np.float64)
