"""Pairs with the same texts are scored once, and every one of them gets the logits."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from inranker.labeling.dedupe import ANSWER, KNOWN, answers_of, first_occurrences, not_scored, share_answers, text_keys
from inranker.labeling.read import read_labels
from inranker.labeling.verify import verify
from tests.builders import make_pairs, pair_rows
from tests.unit.labeling.inprocess import label_here, label_job

TEXTS = st.sampled_from(["", "a", "b", "ab", "a b", "é", "\0", "a\0"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, st.booleans()), max_size=12))
def test_every_row_gets_the_answer_to_its_own_texts(rows: list[tuple[str, str, bool]]) -> None:
    """Whatever is repeated and whatever is known: an oracle's answer to a row's texts arrives at that row."""
    known_texts = {(query, passage) for query, passage, known in rows if known}
    oracle: dict[tuple[str, str], int] = {}
    for query, passage, _ in rows:
        oracle.setdefault((query, passage), len(oracle))

    def ask(texts: list[tuple[str, str]]) -> np.ndarray:
        return np.array([(oracle[pair], -oracle[pair], oracle[pair], oracle[pair] % 2) for pair in texts], ANSWER)

    texts = [(query, passage) for query, passage, _ in rows]
    first, of_row = first_occurrences(text_keys([q for q, _ in texts], [p for _, p in texts]))
    assert len(first) == len(oracle)
    distinct = [texts[row] for row in first]
    found = np.array([pair in known_texts for pair in distinct], bool)
    ids = pa.table({"row": pa.array(range(len(rows)), pa.int32())})
    ids, to_score = share_answers(ids, first, of_row, found, ask([p for p in distinct if p in known_texts]))
    assert {texts[row] for row in to_score} == set(texts) - known_texts
    assert len(to_score) == len(set(texts) - known_texts)
    if "source" in ids.column_names:
        assert (ids["source"].to_numpy() == KNOWN).tolist() == [pair in known_texts for pair in texts]
    else:
        assert not known_texts and len(oracle) == len(rows)
    counted = not_scored(ids)
    assert counted == {"reused": sum(pair in known_texts for pair in texts), "duplicates": counted["duplicates"]}
    assert len(to_score) + counted["duplicates"] + counted["reused"] == len(rows)
    assert answers_of(ids, ask([texts[row] for row in to_score])).tolist() == ask(texts).tolist()


def test_keys_tell_where_the_query_ends() -> None:
    keys = text_keys(["ab", "a", "ab", "é"], ["c", "bc", "c", ""])
    assert keys[0] == keys[2]
    assert len({key.tobytes() for key in keys}) == 3


def test_a_unit_scores_identical_texts_once(teacher: Path, tmp_path: Path) -> None:
    rows = pair_rows(20)
    for number, row in enumerate(rows[10:18]):
        row |= {"query": rows[number]["query"], "passage": rows[number]["passage"]}
    rows[19]["passage"] = " "
    config = label_job(make_pairs(tmp_path / "pairs", rows), teacher, tmp_path / "out")
    assert label_here(config) == {"scored": 11, "duplicates": 8, "reused": 0}
    labels = read_labels(config.output)
    assert labels["row"].to_pylist() == list(range(19))
    assert labels["passage_id"].to_pylist() == [row["passage_id"] for row in rows[:19]]
    for name in ("false_logit", "true_logit", "n_tokens"):
        values = labels[name].to_pylist()
        assert values[10:18] == values[:8]
        assert len(set(values[:10])) > 1
    assert verify(config)["problems"] == []
    # One unit a row: nothing is shared, and the logits are the same.
    alone = label_job(Path(config.identity.pairs), teacher, tmp_path / "alone", unit_rows=1)
    assert label_here(alone) == {"scored": 19, "duplicates": 0, "reused": 0}
    np.testing.assert_allclose(read_labels(alone.output)["true_logit"], labels["true_logit"], atol=1e-5)
