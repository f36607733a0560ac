"""Sizes of published collections and label sets, so that a plan needs none of them at hand.

Passages and queries of BEIR are in `corpora.beir16`; mean lengths in words are Table 1 of BEIR
(https://arxiv.org/abs/2104.08663), numbers of relevant judgments those of the released qrels (None: not checked).
"""

from dataclasses import dataclass

from inranker.corpora.beir16 import SETS, is_test_split

# T5's vocabulary splits a word of six English collections into 1.4 to 1.7 pieces, PTT5's one of three Portuguese ones
# into 1.4.
TOKENS_PER_WORD = 1.5
TEMPLATE_TOKENS = 8


@dataclass(frozen=True)
class Facts:
    """A collection: passages, queries and relevant judgments by split, mean words of a query and of a passage."""

    passages: int | None
    queries: dict[str, int]
    positives: dict[str, int]
    query_words: float
    passage_words: float

    @property
    def tokens(self) -> float:
        """Tokens of a pair of it, before anything is cut."""
        return TOKENS_PER_WORD * (self.query_words + self.passage_words) + TEMPLATE_TOKENS


# set -> relevant test judgments, words of a query, words of a passage
BEIR: dict[str, tuple[int | None, float, float]] = {
    "trec-covid": (24_673, 10.60, 160.77),
    "nfcorpus": (12_334, 3.30, 232.26),
    "bioasq": (2_359, 8.05, 202.61),
    "nq": (4_201, 9.16, 78.88),
    "hotpotqa": (14_810, 17.61, 46.30),
    "climate-fever": (4_681, 20.13, 84.76),
    "dbpedia-entity": (15_286, 5.39, 49.68),
    "trec-news": (3_041, 11.14, 634.79),
    "robust04": (None, 15.27, 466.40),
    "arguana": (1_406, 192.98, 166.80),
    "webis-touche2020": (932, 6.55, 292.37),
    "quora": (15_675, 9.53, 11.44),
    "scidocs": (4_928, 9.38, 176.19),
    "scifact": (339, 12.37, 213.63),
    "fiqa": (1_706, 10.77, 132.32),
    "signal1m": (1_899, 9.30, 13.93),
}
ROBUST04_POSITIVES = 17_412  # TREC 2004's qrels; BEIR's were not at hand

MSMARCO = Facts(8_841_823, {"train": 502_939, "dev": 55_578}, {"train": 532_761, "dev": 59_273}, 5.96, 55.98)
QUATI = {size: Facts(passages, {"test": 50}, {}, 10.0, 120.0) for size, passages in (("1M", 10**6), ("10M", 10**7))}

# Released label sets: pairs in them, tokens of one (of BEIR the mean over the 16 sets).
RELEASED_PAIRS = {"msmarco": 12_800_000, "beir": 10_500_000}


def beir_facts(name: str) -> Facts:
    """One of BEIR's 16 sets."""
    row, (positives, query_words, passage_words) = SETS[name], BEIR[name]
    judged = {"test": positives if positives is not None else ROBUST04_POSITIVES}
    return Facts(row.passages, {"test": row.queries}, judged, query_words, passage_words)


def facts_of(collection: str, split: str) -> tuple[Facts, str] | None:
    """What is known of a collection by the name that stages give it, and the split in this table's words.

    Returns:
        None where nothing is: a collection of one's own.
    """
    kind, _, rest = collection.partition(":")
    split = "test" if is_test_split(rest, split) else split
    if kind == "quati":
        return QUATI["10M" if rest.endswith(":10M") else "1M"], split
    if kind == "ir_datasets" and rest.startswith(("msmarco-passage", "mmarco/")):
        return MSMARCO, split
    name = rest.partition(":")[0].rstrip("/").removeprefix("beir/").rsplit("/", 1)[-1]
    return (beir_facts(name), split) if kind in ("beir16", "beir", "ir_datasets") and name in BEIR else None


def released_tokens(form: str) -> float:
    """Tokens of a pair of a released label set."""
    if form == "msmarco":
        return MSMARCO.tokens
    cut = [min(512.0, beir_facts(name).tokens) for name in BEIR]
    return sum(cut) / len(cut)
