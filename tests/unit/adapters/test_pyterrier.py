"""The PyTerrier adapter in PyTerrier's own pipelines, over data frames: what needs Terrier's jars is not used."""

from pathlib import Path

import pytest

from inranker import Ranker
from inranker.errors import UserError
from tests.builders import pair_rows

pd = pytest.importorskip("pandas")
pt = pytest.importorskip("pyterrier", reason="PyTerrier is not installed (extra pyterrier)")
from inranker.adapters.pyterrier import InRankerTransformer  # noqa: E402

ROWS = pair_rows(20)
FRAME = pd.DataFrame(
    [
        {"qid": row["query_id"], "query": row["query"], "docno": row["passage_id"], "text": row["passage"], "url": n}
        for n, row in enumerate(ROWS)
    ]
)


@pytest.fixture(scope="module")
def ranker(teacher: Path) -> Ranker:
    return Ranker(teacher, precision="float32", threads=1)


def test_it_is_a_transformer_that_orders_each_query(ranker: Ranker) -> None:
    transformer = InRankerTransformer(ranker)
    assert isinstance(transformer, pt.Transformer)
    ranked = transformer(FRAME.sample(frac=1, random_state=0))
    for query_id, rows in ranked.groupby("qid"):
        own = [row for row in ROWS if row["query_id"] == query_id]
        hits = ranker.rank(str(own[0]["query"]), [str(row["passage"]) for row in own])
        assert rows["docno"].tolist() == [own[hit.index]["passage_id"] for hit in hits]
        assert rows["score"].tolist() == pytest.approx([hit.score for hit in hits], abs=1e-5)
        assert rows["rank"].tolist() == list(range(10))
    assert set(ranked["url"]) == set(FRAME["url"])


def test_it_stands_in_pipelines(ranker: Ranker) -> None:
    first = pt.Transformer.from_df(FRAME.assign(score=0.0, rank=FRAME.groupby("qid").cumcount()))
    pipeline = first % 4 >> InRankerTransformer(ranker) % 2
    topics = FRAME[["qid", "query"]].drop_duplicates()
    found = pipeline.transform(topics)
    for query_id, rows in found.groupby("qid"):
        own = [row for row in ROWS if row["query_id"] == query_id][:4]
        hits = ranker.rank(str(own[0]["query"]), [str(row["passage"]) for row in own], top_k=2)
        assert rows["docno"].tolist() == [own[hit.index]["passage_id"] for hit in hits]


def test_an_experiment_measures_it(ranker: Ranker) -> None:
    best = {query: rows.iloc[0] for query, rows in InRankerTransformer(ranker)(FRAME).groupby("qid")}
    qrels = pd.DataFrame([{"qid": query, "docno": row["docno"], "label": 1} for query, row in best.items()])
    first = pt.Transformer.from_df(FRAME.assign(score=0.0, rank=FRAME.groupby("qid").cumcount()))
    topics = FRAME[["qid", "query"]].drop_duplicates()
    table = pt.Experiment([first >> InRankerTransformer(ranker)], topics, qrels, ["recip_rank"], names=["ours"])
    assert table["recip_rank"].tolist() == [1.0]


def test_ties_keep_the_rank_they_had(ranker: Ranker) -> None:
    same = pd.DataFrame([{"qid": "1", "query": "a", "docno": f"d{n}", "text": "x", "rank": 4 - n} for n in range(5)])
    assert InRankerTransformer(ranker)(same)["docno"].tolist() == ["d4", "d3", "d2", "d1", "d0"]


def test_titles_stand_before_texts(ranker: Ranker) -> None:
    rows = FRAME.assign(title="sort merge", body=FRAME["text"])
    ranked = InRankerTransformer(ranker, text_field="body", title_field="title")(rows)
    row = ranked.iloc[0]
    assert row["score"] == pytest.approx(
        float(ranker.score([(row["query"], f"sort merge {row['body']}")])[0]), abs=1e-5
    )


def test_nothing_gives_nothing_and_a_missing_column_is_a_sentence(ranker: Ranker) -> None:
    assert len(InRankerTransformer(ranker)(FRAME.iloc[:0])) == 0
    with pytest.raises(UserError, match="no column 'text'"):
        InRankerTransformer(ranker).transform(FRAME.drop(columns="text"))
