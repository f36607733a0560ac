"""The table of the 16 sets against BEIR's own topics and qrels, and against what ir_datasets has."""

from pathlib import Path

import pytest

from inranker.corpora import open_collection
from inranker.corpora.beir16 import SETS, sample_set
from inranker.corpora.lines import either, lines
from inranker.corpora.trec import read_trec_qrels, read_trec_topics
from inranker.errors import UserError
from tests.unit.beir_folder import write_beir


@pytest.mark.parametrize("name", SETS)
def test_topics_and_qrels_are_as_many_as_the_table_says(shared_dir: Path, name: str) -> None:
    folder = shared_dir / "reference" / "beir_topics_qrels"
    topics = list(read_trec_topics(folder / f"topics.beir-v1.0.0-{name}.test.tsv.gz"))
    assert len(topics) == len({query.query_id for _, query in topics}) == SETS[name].queries
    qrels = either(folder / f"qrels.beir-v1.0.0-{name}.test.txt")
    if SETS[name].qrels is None:
        assert not qrels.exists()
        pytest.skip(f"the qrels of {name} are not among the reference files, so the table gives no number")
    judged = [qrel for _, qrel in read_trec_qrels(qrels)]
    assert len(judged) == SETS[name].qrels
    assert {qrel.query_id for qrel in judged} <= {query.query_id for _, query in topics}


def test_sixteen_sets_and_the_samples_of_appendix_b(shared_dir: Path) -> None:
    rows = [line.split(",")[0] for _, line in lines(shared_dir / "reference" / "paper_table6_beir.csv")]
    assert set(SETS) == {row for row in rows[1:] if row in SETS} and len(SETS) == 16
    first = "nfcorpus nq hotpotqa dbpedia-entity quora scidocs fiqa signal1m".split()
    second = "trec-covid bioasq nq hotpotqa robust04 scidocs scifact fiqa".split()
    assert (sorted(sample_set(1)), sorted(sample_set(2))) == (sorted(first), sorted(second))
    assert len({*first, *second}) == 12
    with pytest.raises(UserError, match="there is no sample set 3"):
        sample_set(3)


@pytest.mark.parametrize("name", [row.name for row in SETS.values() if row.ir_datasets])
def test_ir_datasets_has_the_set_and_its_split(name: str) -> None:
    collection = open_collection(f"beir16:{name}")
    assert SETS[name].split in collection.splits()
    assert collection.queries_are_documents is (name == "arguana")


@pytest.mark.parametrize("name", [row.name for row in SETS.values() if not row.ir_datasets])
def test_a_set_that_nobody_may_pass_on_is_read_from_a_copy(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"nobody may pass on the texts of {name}: .* as in beir16:{name}:ROOT"):
        open_collection(f"beir16:{name}")
    write_beir(tmp_path / name)
    collection = open_collection(f"beir16:{name}:{tmp_path}")
    assert (collection.name, len(list(collection.passages_iter()))) == (f"beir/{name}", 3)
    with pytest.raises(UserError, match="beir16:msmarco is none of the sets"):
        open_collection("beir16:msmarco")
