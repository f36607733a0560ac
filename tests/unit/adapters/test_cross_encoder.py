"""The `CrossEncoder`-like adapter beside sentence-transformers' own, on one and the same checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch

from inranker import Ranker
from inranker.adapters.cross_encoder import InRankerCrossEncoder
from tests.builders import WORDS, pair_rows

QUERY = "open file"
TEXTS = [str(row["passage"]) for row in pair_rows(12)]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT classifier with one output, as MS MARCO cross-encoders have it."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS)]))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), num_labels=1, initializer_range=0.5, **shape)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def theirs(bert: Path) -> Any:
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    return library.CrossEncoder(str(bert), device="cpu", activation_fn=torch.nn.Identity())


@pytest.fixture(scope="module")
def ours(bert: Path) -> InRankerCrossEncoder:
    return InRankerCrossEncoder(bert, device="cpu", precision="float32", threads=1)


def test_predict_answers_as_the_library_does(ours: InRankerCrossEncoder, theirs: Any) -> None:
    pairs = [(QUERY, text) for text in TEXTS]
    expected = theirs.predict(pairs)
    assert ours.predict(pairs) == pytest.approx(expected, abs=1e-4)
    assert len(set(expected.tolist())) > 6
    assert float(ours.predict(pairs[0])) == pytest.approx(float(theirs.predict(pairs[0])), abs=1e-4)
    probabilities = ours.predict(pairs, activation_fn=torch.nn.Sigmoid(), convert_to_tensor=True)
    assert probabilities.tolist() == pytest.approx(theirs.predict(pairs, activation_fn=torch.nn.Sigmoid()), abs=1e-4)
    assert [float(score) for score in ours.predict(pairs, convert_to_numpy=False)] == pytest.approx(expected, abs=1e-4)


def test_rank_answers_as_the_library_does(ours: InRankerCrossEncoder, theirs: Any) -> None:
    mine = ours.rank(QUERY, TEXTS, top_k=5, return_documents=True)
    expected = theirs.rank(QUERY, TEXTS, top_k=5, return_documents=True)
    assert [row["corpus_id"] for row in mine] == [row["corpus_id"] for row in expected]
    assert [row["text"] for row in mine] == [row["text"] for row in expected]
    assert [row["score"] for row in mine] == pytest.approx([float(row["score"]) for row in expected], abs=1e-4)
    assert set(ours.rank(QUERY, TEXTS)[0]) == {"corpus_id", "score"}


def test_a_t5_has_the_same_methods(teacher: Path) -> None:
    ranker = Ranker(teacher, precision="float32", threads=1)
    model = InRankerCrossEncoder(ranker)
    assert model.predict([(QUERY, text) for text in TEXTS]) == pytest.approx(ranker.score([(QUERY, t) for t in TEXTS]))
    assert [row["corpus_id"] for row in model.rank(QUERY, TEXTS)] == [hit.index for hit in ranker.rank(QUERY, TEXTS)]
    assert model.predict([]).shape == (0,) and model.rank(QUERY, []) == []
