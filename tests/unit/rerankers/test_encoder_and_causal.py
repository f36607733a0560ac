"""Other architectures behind the same contract, against Hugging Face's own forward."""

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Gemma2Config,
    Gemma2ForCausalLM,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from inranker.errors import UserError
from inranker.rerankers import load_reranker
from inranker.rerankers.contract import FAMILIES, Contract, save_contract

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}


def save(model, tokenizer, contract, path):
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "norm" not in name.lower():
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    if contract is not None:
        save_contract(path, contract)
    return model.eval()


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_cross_encoders(word_piece, texts, tmp_path, kind, outputs):
    common = {**SMALL, "vocab_size": len(word_piece), "num_labels": outputs, "pad_token_id": 0}
    if kind == "bert":
        model = BertForSequenceClassification(BertConfig(**common))
    else:
        word_piece.model_input_names = ["input_ids", "attention_mask"]
        special = {"cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
        model = ModernBertForSequenceClassification(ModernBertConfig(**common, **special))
    model = save(model, word_piece, None, tmp_path)
    inputs = word_piece(*texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        theirs = model(**inputs).logits.numpy()
    assert np.ptp(theirs) > 1
    reranker = load_reranker(tmp_path)
    assert reranker.contract.architecture == "encoder"
    logits = reranker.logits(reranker.encoder.encode(*texts), 512)
    expected = theirs if outputs == 2 else np.concatenate([-theirs / 2, theirs / 2], axis=1)
    assert np.abs(logits - expected).max() <= 1e-4
    margins = theirs[:, 0] if outputs == 1 else theirs[:, 1] - theirs[:, 0]
    np.testing.assert_allclose(reranker.score(*texts), margins, atol=2e-4)
    reranker.save(tmp_path / "again")
    np.testing.assert_array_equal(load_reranker(tmp_path / "again").score(*texts), reranker.score(*texts))


def test_token_types_matter_to_bert(word_piece, texts, tmp_path):
    model = BertForSequenceClassification(BertConfig(**SMALL, vocab_size=len(word_piece), num_labels=1))
    model = save(model, word_piece, None, tmp_path)
    inputs = word_piece(*texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        typed = model(**inputs).logits
        inputs["token_type_ids"] = torch.zeros_like(inputs["token_type_ids"])
        untyped = model(**inputs).logits
    assert (typed - untyped).abs().max() > 0.1


def test_classifiers_with_three_outputs_are_refused(word_piece, tmp_path):
    model = BertForSequenceClassification(BertConfig(**SMALL, vocab_size=len(word_piece), num_labels=3))
    save(model, word_piece, None, tmp_path)
    with pytest.raises(UserError, match="3 outputs; a reranker has 1 or 2"):
        load_reranker(tmp_path)


CAUSAL = {"qwen3": (Qwen3Config, Qwen3ForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}


def causal_contract(tokenizer, template, **chat):
    vocabulary = sorted(tokenizer.get_vocab())
    names = {"false_token": vocabulary[-1], "true_token": vocabulary[-2]}
    return Contract("custom", architecture="causal", template=template, eos=False, max_length=200, **names, **chat)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", CAUSAL)
def test_causal_models_answer_at_the_last_position(byte_level, texts, tmp_path, family, tied):
    config_class, model_class = CAUSAL[family]
    config = config_class(
        **SMALL, vocab_size=len(byte_level), num_key_value_heads=2, head_dim=8, tie_word_embeddings=tied
    )
    chat = {"prefix": "judge:\n", "suffix": "\nanswer:"}
    contract = causal_contract(byte_level, "<Query>: {query}\n<Document>: {document}", **chat)
    model = save(model_class(config), byte_level, contract, tmp_path)
    answers = byte_level.convert_tokens_to_ids([contract.false_token, contract.true_token])
    pieces = [[chat["prefix"], f"<Query>: {q}\n<Document>: {p}", chat["suffix"]] for q, p in zip(*texts, strict=True)]
    ids = [[t for piece in row for t in byte_level(piece, add_special_tokens=False).input_ids] for row in pieces]
    keep = [row for row, tokens in enumerate(ids) if len(tokens) <= 200]
    assert len(keep) > 20
    with torch.no_grad():
        alone = [model(torch.tensor([ids[row]])).logits[0, -1, answers].numpy() for row in keep]
        # What the published code does: pad on the left and read the last column.
        longest = max(len(ids[row]) for row in keep)
        padded = torch.tensor([[0] * (longest - len(ids[row])) + ids[row] for row in keep])
        mask = torch.tensor([[0] * (longest - len(ids[row])) + [1] * len(ids[row]) for row in keep])
        left = model(padded, attention_mask=mask).logits[:, -1, answers].numpy()
    reranker = load_reranker(tmp_path)
    encoded = reranker.encoder.encode(*texts)
    assert [encoded.take([row]).token_ids.tolist() for row in keep] == [ids[row] for row in keep]
    logits = reranker.logits(encoded, 600)[keep]
    assert np.ptp(logits) > 1
    assert np.abs(logits - np.array(alone)).max() <= 1e-4
    assert np.abs(logits - left).max() <= 1e-3


def test_long_passages_never_cut_the_chat_suffix(byte_level, tmp_path):
    contract = causal_contract(byte_level, "q {query} d {document}", prefix="p", suffix=" s:")
    config = Qwen3Config(**SMALL, vocab_size=len(byte_level), num_key_value_heads=2, head_dim=8)
    save(Qwen3ForCausalLM(config), byte_level, contract, tmp_path)
    encoder = load_reranker(tmp_path, max_length=40).encoder
    encoded = encoder.encode(["wing"], ["lift drag " * 50])
    assert encoded.lengths.tolist() == [40]
    text = byte_level.decode(encoded.token_ids)
    assert text.startswith("pq wing d lift drag")
    assert text.endswith(" s:")


def test_families_that_change_their_logits_are_refused(byte_level, tmp_path):
    config = Gemma2Config(
        **SMALL, vocab_size=len(byte_level), num_key_value_heads=2, head_dim=8, final_logit_softcapping=0.5
    )
    save(Gemma2ForCausalLM(config), byte_level, causal_contract(byte_level, "{query} {document}"), tmp_path)
    with pytest.raises(UserError, match="changes its logits after the head"):
        load_reranker(tmp_path)


def test_int8_is_for_t5(word_piece, tmp_path):
    model = BertForSequenceClassification(BertConfig(**SMALL, vocab_size=len(word_piece), num_labels=1))
    save(model, word_piece, FAMILIES["cross-encoder"], tmp_path)
    with pytest.raises(UserError, match="int8 is for T5"):
        load_reranker(tmp_path, dtype="int8")
