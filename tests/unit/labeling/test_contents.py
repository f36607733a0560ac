"""Whatever texts a pair holds: every row is labelled or quarantined once, and a label depends on its pair alone."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inranker.fingerprint import sha256_bytes
from inranker.labeling.rows import from_parquet, to_parquet
from inranker.labeling.scorer import LabelCommitter, PairScorer, PairTokenizer
from inranker.manifest import Shard, claim_output, read_identity, read_shard
from inranker.rerankers import load_reranker
from inranker.rerankers.reranker import Reranker
from inranker.storage import Store
from inranker.units import Unit, read_receipt, unit_to_json
from tests.builders import PAIR_SCHEMA

LONG = 100_000  # characters
ODD = [
    *("", " ", "\u2003\t\n", "\x1c", "\x85", "\u200b\u200d\ufeff", "\u202e\u05e9\u05dc\u05d5\u05dd\u202c \u0645"),
    *("a\u0301\u0301\u0301", "\x00", "\U0010ffff", "\ufdfa", "％ＡＢ①", "\U0001f469\u200d\U0001f467"),
    *("Query: x Document: y Relevant:", "</s><pad>▁true▁false", "{query}{document}"),
]


def made_long(text: str) -> str:
    return (text * (LONG // len(text) + 1))[:LONG]


TEXTS = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5).map(made_long),
)


@dataclass
class Factory:
    """The three stages, built once, and a place for the shards of each example."""

    pairs: Store
    output: Store
    teacher: Reranker
    tokenise: PairTokenizer
    score: PairScorer
    commit: LabelCommitter
    shards: list[Shard] = field(default_factory=list)

    def run(self, rows: list[dict[str, str]]) -> tuple[pa.Table, dict[int, str]]:
        """Labels, and reasons of the quarantined rows."""
        data = to_parquet(pa.Table.from_pylist(rows, PAIR_SCHEMA))
        self.shards.append(Shard(f"pairs-{len(self.shards):05d}.parquet", len(rows), sha256_bytes(data)))
        self.pairs.write(self.shards[-1].name, data)
        unit = Unit(len(self.shards), self.shards[-1], 0, len(rows))
        self.commit(self.score(self.tokenise(pa.table({"unit": [unit_to_json(unit)]}))))
        receipt = read_receipt(self.output, unit.name)
        assert receipt.rows == len(rows)
        reasons = {}
        if receipt.quarantine:
            quarantined = from_parquet(read_shard(self.output, receipt.quarantine))
            reasons = dict(zip(quarantined["row"].to_pylist(), quarantined["reason"].to_pylist(), strict=True))
        return from_parquet(read_shard(self.output, receipt.data)), reasons


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> Factory:
    folder = tmp_path_factory.mktemp("contents")
    pairs, output = Store(str(folder / "pairs")), Store(str(folder / "out"))
    claim_output(output, "label", {"test": "contents"})
    job = read_identity(output)["fingerprint"]
    return Factory(
        pairs,
        output,
        load_reranker(str(teacher)),
        PairTokenizer(pairs.url, output.url, job, str(teacher), ()),
        PairScorer(str(teacher), "float32", "cpu", 1, None, lambda unit: 1, {}),
        LabelCommitter(output.url, job),
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_any_text_is_labelled_by_itself_or_quarantined_with_its_reason(
    factory: Factory, texts: list[tuple[str, str]]
) -> None:
    rows = [
        {"query_id": f"q{row}", "passage_id": f"p{row}", "query": query, "passage": passage, "kind": "negative"}
        for row, (query, passage) in enumerate(texts)
    ]
    labels, reasons = factory.run(rows)
    empty = {
        row: f"empty {'passage' if query.strip() else 'query'}"
        for row, (query, passage) in enumerate(texts)
        if not (query.strip() and passage.strip())
    }
    assert reasons == empty
    kept = [row for row in range(len(texts)) if row not in empty]
    assert labels["row"].to_pylist() == kept
    assert labels["passage_id"].to_pylist() == [f"p{row}" for row in kept]
    assert all(1 <= tokens <= 512 for tokens in labels["n_tokens"].to_pylist())
    logits_N2 = np.stack([labels["false_logit"].to_numpy(), labels["true_logit"].to_numpy()], axis=1)
    for row, logits_2 in zip(kept, logits_N2, strict=True):
        alone_12 = factory.teacher.logits(factory.teacher.encoder.encode([texts[row][0]], [texts[row][1]]))
        np.testing.assert_allclose(logits_2, alone_12[0], atol=1e-5)
