"""The 16 sets of BEIR that InRanker is trained on and evaluated with, by name (Thakur et al. 2021).

BEIR has 18; the paper leaves out MS MARCO, which it trains on first, FEVER and CQADupStack. `beir16:scifact` is the set
from ir_datasets, which fetches it; `beir16:scifact:ROOT` is the BEIR-format directory ROOT/scifact. Four of the sets
have licences that do not let anybody pass their texts on: get them from their owners, convert them as
https://github.com/beir-cellar/beir says, and name their ROOT.
"""

from dataclasses import dataclass
from pathlib import Path

from inranker.corpora.base import Collection
from inranker.corpora.beir import BeirCollection
from inranker.corpora.ir_datasets_reader import IrDatasetsCollection
from inranker.errors import UserError

OPEN = "free to fetch; each set has the licence of its source"


@dataclass(frozen=True)
class BeirSet:
    """One set and its test split.

    Attributes:
        name: the directory's name in BEIR's own release.
        passages, queries, qrels: how many there are, by BEIR's release and its test qrels; None where not checked.
        ir_datasets: its id there, None where the library has not BEIR's version.
        split: the test split's name under that id; in a BEIR-format directory it is always `test`.
        availability: where the texts come from.
        samples: which of the paper's sample sets (appendix B) it is in: 1, 2, both or none.
    """

    name: str
    passages: int
    queries: int
    qrels: int | None
    ir_datasets: str | None
    split: str
    samples: tuple[int, ...]
    availability: str = OPEN


SETS: dict[str, BeirSet] = {
    row.name: row
    for row in (
        BeirSet("trec-covid", 171_332, 50, 66_334, "beir/trec-covid", "trec-covid", (2,)),
        BeirSet("nfcorpus", 3_633, 323, 12_334, "beir/nfcorpus", "test", (1,)),
        BeirSet(
            "bioasq",
            14_914_602,
            500,
            2_359,
            None,
            "test",
            (2,),
            "register with BioASQ (http://bioasq.org) for the training data of task 9b",
        ),
        BeirSet("nq", 2_681_468, 3_452, 4_201, "beir/nq", "nq", (1, 2)),
        BeirSet("hotpotqa", 5_233_329, 7_405, 14_810, "beir/hotpotqa", "test", (1, 2)),
        BeirSet("climate-fever", 5_416_593, 1_535, 4_681, "beir/climate-fever", "climate-fever", ()),
        BeirSet("dbpedia-entity", 4_635_922, 400, 43_515, "beir/dbpedia-entity", "test", (1,)),
        BeirSet(
            "trec-news",
            594_977,
            57,
            15_655,
            None,
            "test",
            (),
            "sign NIST's agreement for the Washington Post collection (https://trec.nist.gov/data/wapost/)",
        ),
        BeirSet(
            "robust04",
            528_155,
            249,
            None,
            None,
            "test",
            (2,),
            "sign NIST's agreement for TREC disks 4 and 5 (https://trec.nist.gov/data/cd45/)",
        ),
        BeirSet("arguana", 8_674, 1_406, 1_406, "beir/arguana", "arguana", ()),
        BeirSet("webis-touche2020", 382_545, 49, 932, "beir/webis-touche2020/v2", "v2", ()),
        BeirSet("quora", 522_931, 10_000, 15_675, "beir/quora", "test", (1,)),
        BeirSet("scidocs", 25_657, 1_000, None, "beir/scidocs", "scidocs", (1, 2)),
        BeirSet("scifact", 5_183, 300, 339, "beir/scifact", "test", (2,)),
        BeirSet("fiqa", 57_638, 648, 1_706, "beir/fiqa", "test", (1, 2)),
        BeirSet(
            "signal1m",
            2_866_316,
            97,
            1_899,
            None,
            "test",
            (1,),
            "fetch the tweets of Signal-1M by their numbers (https://research.signal-ai.com/datasets/signal1m-tweetir.html)",
        ),
    )
}


def sample_set(number: int) -> list[str]:
    """The eight sets of one of the paper's two random samples (appendix B).

    Raises:
        UserError: another number than 1 or 2.
    """
    if number not in (1, 2):
        raise UserError(f"there is no sample set {number}; the paper has 1 and 2")
    return [row.name for row in SETS.values() if number in row.samples]


def is_test_split(collection: str, split: str) -> bool:
    """Whether a collection is evaluated on these queries: its split `test`, or what ir_datasets calls that of a set."""
    return split == "test" or any(
        row.ir_datasets is not None and collection == row.ir_datasets and split == row.split for row in SETS.values()
    )


def open_beir16(argument: str, language: str | None = None) -> Collection:
    """One of the sets, `NAME` from ir_datasets or `NAME:ROOT` from a directory.

    Raises:
        UserError: another name, or a set that must be got from its owner.
    """
    name, _, root = argument.partition(":")
    if name not in SETS:
        raise UserError(f"beir16:{name} is none of the sets; they are {', '.join(SETS)}")
    row = SETS[name]
    if root:
        return BeirCollection(str(Path(root) / name), language)
    if row.ir_datasets is None:
        raise UserError(
            f"nobody may pass on the texts of {name}: {row.availability}, make a BEIR-format directory of them and "
            f"name the one above it, as in beir16:{name}:ROOT"
        )
    return IrDatasetsCollection(row.ir_datasets, language)
