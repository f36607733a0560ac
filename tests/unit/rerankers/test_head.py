"""A fresh head on a pre-trained encoder."""

import sys

import pytest
import torch
from transformers import BertConfig, BertModel

from inranker.errors import UserError
from inranker.rerankers import load_reranker
from inranker.rerankers.checkpoint import local_path
from inranker.rerankers.head import create_cross_encoder
from inranker.starts import EncoderConfig, EncoderIdentity, encoder

SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.fixture
def pretrained(word_piece, tmp_path):
    torch.manual_seed(5)
    model = BertModel(BertConfig(**SHAPE, vocab_size=len(word_piece), max_position_embeddings=64, pad_token_id=0))
    model.save_pretrained(tmp_path / "pretrained")
    word_piece.save_pretrained(tmp_path / "pretrained")
    return tmp_path / "pretrained"


def test_the_encoder_is_kept_and_the_head_is_the_seeds(pretrained, texts, tmp_path):
    state = torch.random.get_rng_state()
    made = create_cross_encoder(pretrained, 1, tmp_path / "a", max_length=48)
    assert torch.equal(torch.random.get_rng_state(), state)
    create_cross_encoder(pretrained, 1, tmp_path / "b", max_length=48)
    create_cross_encoder(pretrained, 2, tmp_path / "c", max_length=48)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "abc"]
    assert weights[0] == weights[1] != weights[2]
    start = load_reranker(tmp_path / "a")
    assert start.contract.max_length == 48 and made["layers"] == 2
    given = BertModel.from_pretrained(pretrained).state_dict()
    assert all(torch.equal(tensor, given[name]) for name, tensor in start.module.model.bert.state_dict().items())
    assert len(start.score(*texts)) == len(texts[0])


def test_more_tokens_than_positions_are_refused(pretrained, tmp_path):
    with pytest.raises(UserError, match="64 positions"):
        create_cross_encoder(pretrained, 1, tmp_path / "a", max_length=65)


def test_the_stage_takes_a_model_inside_a_package_and_is_skipped_when_done(pretrained, tmp_path, monkeypatch):
    package = tmp_path / "site" / "packaged_encoder"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('a package is not imported for its files')\n")
    pretrained.rename(package / "model")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    config = EncoderConfig(EncoderIdentity("package:packaged_encoder", seed=3, max_length=32), str(tmp_path / "out"))
    assert not encoder(config)["skipped"] and encoder(config)["skipped"]
    assert load_reranker(tmp_path / "out" / "model").contract.max_length == 32
    assert "packaged_encoder" not in sys.modules
    with pytest.raises(UserError, match="no such package"):
        local_path("package:nobody_ships_this")
