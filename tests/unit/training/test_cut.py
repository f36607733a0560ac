"""Starts cut out of bigger models."""

import pytest
import torch

from inranker.errors import UserError
from inranker.rerankers import load_reranker
from inranker.rerankers.create import T5Shape
from inranker.training.config import TrainIdentity
from inranker.training.cut import layers_to_keep
from inranker.training.student import open_start, save_student
from tests.builders import make_t5, make_tokenizer, pair_rows

DEEP = T5Shape(d_model=16, d_ff=32, d_kv=8, num_heads=2, num_layers=5, num_decoder_layers=3)


@pytest.mark.parametrize(
    ("rule", "kept"),
    [("first 2", [0, 1]), ("last 2", [3, 4]), ("every 2", [0, 2, 4]), ("every 9", [0]), ("last 5", [0, 1, 2, 3, 4])],
)
def test_rules(rule, kept):
    assert layers_to_keep(rule, 5) == kept


@pytest.mark.parametrize("rule", ["first", "2", "first 0", "middle 2", "first 6", "last 2 3"])
def test_what_is_no_rule_is_said(rule):
    with pytest.raises(UserError, match=r"no rule for layers|more layers than"):
        layers_to_keep(rule, 5)


@pytest.mark.parametrize("rule", ["first 2", "last 2", "every 2"])
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
