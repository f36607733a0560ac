"""Loading, scoring, saving; batch invariance; the identity of a scorer; fidelity of a precision."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from inranker.errors import UserError
from inranker.rerankers import load_encoder, load_reranker, scorer_identity
from inranker.rerankers.fidelity import compare, report
from inranker.rerankers.reranker import scores


@pytest.fixture(scope="module")
def reranker(checkpoint):
    return load_reranker(checkpoint)


def test_scores_are_margins_of_the_library_s_logits(reranker, texts):
    queries, passages = texts
    prompts = [f"Query: {q} Document: {p} Relevant:" for q, p in zip(queries, passages, strict=True)]
    tokens = reranker.encoder.tokenizer(prompts, padding=True, return_tensors="pt")
    with torch.no_grad():
        start = torch.zeros((60, 1), dtype=torch.long)
        logits = reranker.module.t5(**tokens, decoder_input_ids=start).logits[:, 0]
    expected = logits[:, list(reranker.module.answer_ids)].numpy()
    actual = reranker.logits(reranker.encoder.encode(queries, passages))
    assert actual.dtype == np.float32
    assert np.abs(actual - expected).max() <= 1e-4
    np.testing.assert_allclose(reranker.score(queries, passages), actual[:, 1] - actual[:, 0])


def test_a_score_does_not_depend_on_its_batch_mates(reranker, texts):
    encoded = reranker.encoder.encode(*texts)
    alone = np.concatenate([reranker.logits(encoded.take([row])) for row in range(len(encoded))])
    order = np.random.default_rng(0).permutation(len(encoded))
    for budget in (64, 300, 100_000):
        assert np.abs(reranker.logits(encoded, budget) - alone).max() <= 5e-5
        assert np.abs(reranker.logits(encoded.take(order), budget) - alone[order]).max() <= 5e-5


def test_the_module_itself_is_batch_invariant_too(reranker, texts, monkeypatch):
    encoded = reranker.encoder.encode(*texts)
    expected = reranker.logits(encoded)
    monkeypatch.setattr("inranker.rerankers.reranker.supports", lambda module: False)
    for budget in (64, 100_000):
        assert np.abs(reranker.logits(encoded, budget) - expected).max() <= 5e-5


def test_scoring_leaves_the_module_in_its_mode(reranker, texts, monkeypatch):
    encoded = reranker.encoder.encode(*texts)
    reranker.module.train()
    expected = reranker.logits(encoded)
    monkeypatch.setattr("inranker.rerankers.reranker.supports", lambda module: False)
    assert np.abs(reranker.logits(encoded) - expected).max() <= 5e-5
    assert reranker.module.training
    reranker.module.eval()


def test_scores_follow_the_weights(checkpoint, texts):
    model = load_reranker(checkpoint)
    encoded = model.encoder.encode(*texts)
    before = model.logits(encoded)
    with torch.no_grad():
        model.module.t5.decoder.final_layer_norm.weight.mul_(2)
    assert np.abs(model.logits(encoded) - 2 * before).max() < 1e-4
    # As an optimizer that owns the storage writes: no version counter moves.
    model.module.t5.decoder.final_layer_norm.weight.data.mul_(2)
    assert np.abs(model.logits(encoded) - 4 * before).max() < 1e-4


def test_saved_rerankers_load_again_as_ordinary_models(reranker, texts, tmp_path):
    from transformers import T5ForConditionalGeneration

    reranker.save(tmp_path)
    again = load_reranker(tmp_path)
    np.testing.assert_array_equal(again.score(*texts), reranker.score(*texts))
    assert again.contract == reranker.contract
    assert T5ForConditionalGeneration.from_pretrained(tmp_path).num_parameters() == reranker.parameters_count


def test_what_ranks_follows_the_contract(checkpoint, texts):
    model = load_reranker(checkpoint, score="true")
    logits = model.logits(model.encoder.encode(*texts))
    np.testing.assert_array_equal(model.score(*texts), logits[:, 1])
    np.testing.assert_array_equal(scores(logits, load_encoder(checkpoint).contract), logits[:, 1] - logits[:, 0])


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_reports_of_a_precision_are_near_the_exact_one(checkpoint, texts, dtype):
    queries = [["what is wing lift", "drag"][row % 2] for row in range(60)]
    found = report(checkpoint, dtype, queries, texts[1])
    assert found["pairs"] == 60
    assert 0 < found["mean_error"] <= found["max_error"] < 0.2
    assert found["couples"] == 2 * (30 * 29 // 2)
    assert found["kendall_tau"] > 0.8
    assert found["flips"] < 0.1 * found["couples"]


def test_fidelity_counts_flips_within_a_query(reranker):
    contract = reranker.contract
    reference = np.array([[0, 1], [0, 2], [0, 3], [0, 5], [0, 4]], np.float32)
    logits = np.array([[0, 1], [0, 3], [0, 2.5], [0, 5], [0, 4]], np.float32)
    found = compare(logits, reference, ["a", "a", "a", "b", "b"], contract)
    assert (found.flips, found.couples) == (1, 4)
    assert found.kendall_tau == pytest.approx((1 / 3 + 1) / 2)
    assert (found.max_error, found.mean_error) == (1.0, pytest.approx(0.15))
    assert compare(reference, reference, list("aaabb"), contract).kendall_tau == 1.0
    with pytest.raises(ValueError, match="cannot compare"):
        compare(logits[:3], reference, ["a"] * 3, contract)


def test_identity_is_what_makes_logits_interchangeable(checkpoint, tmp_path):
    identity = scorer_identity(checkpoint)
    assert identity == scorer_identity(checkpoint) == json.loads(json.dumps(identity))
    assert set(identity) >= {"weights_sha256", "tokenizer_sha256", "contract", "token_ids", "dtype"}
    changes = {
        "precision": scorer_identity(checkpoint, "bfloat16"),
        "length": scorer_identity(checkpoint, max_length=100),
        "truncation": scorer_identity(checkpoint, truncation="legacy-training"),
        "template": scorer_identity(checkpoint, template="{query} {document}"),
        "tokens": scorer_identity(checkpoint, false_token="▁Query:"),
    }
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint, copy)
    assert scorer_identity(copy) == identity
    weights = load_file(copy / "model.safetensors")
    weights["shared.weight"][3, 3] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    changes["weights"] = scorer_identity(copy)
    for name, changed in changes.items():
        assert changed != identity, name


def test_identity_survives_saving_again(reranker, checkpoint, tmp_path):
    reranker.save(tmp_path / "a")
    load_reranker(tmp_path / "a").save(tmp_path / "b")
    assert scorer_identity(tmp_path / "a") == scorer_identity(tmp_path / "b")


def test_what_cannot_be_loaded_is_named(checkpoint, tmp_path):
    with pytest.raises(UserError, match="no such model directory"):
        load_reranker(tmp_path / "absent")
    with pytest.raises(UserError, match=r"no config\.json"):
        load_reranker(tmp_path)
    with pytest.raises(UserError, match="dtype 'fp7' is not one of"):
        load_reranker(checkpoint, dtype="fp7")
    with pytest.raises(UserError, match="true_token 'nowhere' of family"):
        load_reranker(checkpoint, true_token="nowhere")


def test_the_package_imports_without_torch():
    code = (
        "import sys, inranker.rerankers, inranker.rerankers.encode, inranker.rerankers.batching; "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
