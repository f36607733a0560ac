"""Starts cut out of bigger models."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from inranker.errors import UserError
from inranker.rerankers import load_reranker
from inranker.rerankers.contract import FAMILIES, save_contract
from inranker.rerankers.create import T5Shape
from inranker.training.config import TrainIdentity
from inranker.training.cut import layers_to_keep
from inranker.training.student import open_start, save_student
from tests.builders import make_t5, make_tokenizer, pair_rows

DEEP = T5Shape(d_model=16, d_ff=32, d_kv=8, num_heads=2, num_layers=5, num_decoder_layers=3)


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("first 2", [0, 1]),
        ("last 2", [3, 4]),
        ("every 2", [0, 2, 4]),
        ("every 9", [0]),
        ("last 5", [0, 1, 2, 3, 4]),
        ("only 0, 3,4", [0, 3, 4]),
    ],
)
def test_rules(rule, kept):
    assert layers_to_keep(rule, 5) == kept


@pytest.mark.parametrize("rule", ["first", "2", "first 0", "middle 2", "first 6", "last 2 3", "only", "only 1 2"])
def test_what_is_no_rule_is_said(rule):
    with pytest.raises(UserError, match=r"no rule for layers|more layers than"):
        layers_to_keep(rule, 5)


@pytest.mark.parametrize(
    ("rule", "reason"), [("only 0, 5", "0 to 4"), ("only 2, 1", "ascending"), ("only 1, 1", "once")]
)
def test_a_list_of_layers_names_each_once_in_order_and_none_that_is_not_there(rule, reason):
    with pytest.raises(UserError, match=reason):
        layers_to_keep(rule, 5)


@pytest.mark.parametrize("rule", ["first 2", "last 2", "every 2", "only 1, 2"])
def test_a_cut_start_has_the_kept_layers_saves_and_scores_as_hugging_face_does(rule, tmp_path):
    start = make_t5(tmp_path / "start", make_tokenizer(tmp_path / "tokenizer"), shape=DEEP)
    identity = TrainIdentity(start=str(start), encoder_layers=rule, decoder_layers="last 1")
    cut = open_start(identity)
    whole = load_reranker(start).module.t5
    kept = layers_to_keep(rule, 5)
    assert len(cut.module.t5.encoder.block) == len(kept) and len(cut.module.t5.decoder.block) == 1
    for number, block in zip(kept, cut.module.t5.encoder.block, strict=True):
        assert torch.equal(
            block.layer[0].SelfAttention.q.weight, whole.encoder.block[number].layer[0].SelfAttention.q.weight
        )
    bias = cut.module.t5.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
    assert torch.equal(bias, whole.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight)

    weights = {name: tensor.detach() for name, tensor in cut.module.named_parameters()}
    saved = save_student(identity, weights, str(tmp_path / "out"))
    rows = pair_rows(8)
    queries, passages = [row["query"] for row in rows], [row["passage"] for row in rows]
    encoded = cut.encoder.encode(queries, passages)
    torch.testing.assert_close(torch.from_numpy(saved.logits(encoded)), torch.from_numpy(cut.logits(encoded)))
    t5 = saved.module.t5.eval()
    for row in range(8):
        ids = torch.from_numpy(encoded.take([row]).token_ids.astype("int64"))[None]
        with torch.no_grad():
            full = t5(input_ids=ids, decoder_input_ids=torch.zeros(1, 1, dtype=torch.long)).logits[0, 0]
        theirs = full[list(saved.module.answer_ids)]
        mine = torch.from_numpy(saved.logits(encoded.take([row])))[0]
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


@pytest.fixture
def cross_encoder(tmp_path):
    """A start of four layers built as BERT is, over the vocabulary that T5 tests use."""
    tokenizer = AutoTokenizer.from_pretrained(make_tokenizer(tmp_path / "tokenizer"))
    torch.manual_seed(2)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
    BertForSequenceClassification(
        BertConfig(**shape, vocab_size=len(tokenizer), num_labels=1, max_position_embeddings=128)
    ).save_pretrained(tmp_path / "start")
    tokenizer.save_pretrained(tmp_path / "start")
    save_contract(tmp_path / "start", replace(FAMILIES["cross-encoder"], max_length=64))
    return tmp_path / "start"


def test_a_cut_cross_encoder_has_the_kept_layers_and_its_own_head(cross_encoder, tmp_path):
    identity = TrainIdentity(start=str(cross_encoder), encoder_layers="every 3", loss="lce")
    start, whole = open_start(identity), load_reranker(cross_encoder).module.model
    layers = start.module.model.bert.encoder.layer
    assert len(layers) == 2 and start.module.model.config.num_hidden_layers == 2
    for number, layer in zip((0, 3), layers, strict=True):
        assert torch.equal(layer.output.dense.weight, whole.bert.encoder.layer[number].output.dense.weight)
    assert torch.equal(start.module.model.classifier.weight, whole.classifier.weight)
    weights = {name: tensor.detach() + 0.01 for name, tensor in start.module.named_parameters()}
    saved = save_student(identity, weights, str(tmp_path / "out"))
    assert all(torch.equal(tensor, weights[name]) for name, tensor in saved.module.named_parameters())


@pytest.mark.parametrize("rules", [{"decoder_layers": "first 1"}, {"encoder_layers": "first 9"}])
def test_what_a_cross_encoder_cannot_lose_is_said(rules, cross_encoder):
    with pytest.raises(UserError, match=r"decoder_layers is for T5|more layers than the 4"):
        open_start(TrainIdentity(start=str(cross_encoder), **rules))
