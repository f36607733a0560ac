"""The one-step T5 against Hugging Face's own forward: logits, gradients, dropout."""

import numpy as np
import pytest
import torch

from inranker.rerankers.cpu import FastT5, supports
from inranker.rerankers.t5 import OneStepT5, head_scale, relative_buckets

from .conftest import FALSE_ID, T5_FAMILIES, TRUE_ID, answers, make_inputs, spread

CASES = [(family, untied) for family in T5_FAMILIES for untied in (False, True)]
IDS = [f"{family}-{'untied' if untied else 'tied'}" for family, untied in CASES]


def fast_logits(module, precision, input_ids, mask):
    """Logits of the CPU path for padded inputs, longest first as its caller would have them."""
    order = torch.argsort(mask.sum(1), descending=True, stable=True)
    lengths = mask.sum(1)[order].tolist()
    fast = FastT5(module, precision)
    with torch.inference_mode():
        fast.prepare(max(lengths))
        flat = torch.cat([input_ids[row][: lengths[i]] for i, row in enumerate(order.tolist())])
        logits = torch.empty(len(order), 2)
        logits[order] = fast.logits(flat, lengths)
    return logits


@pytest.mark.parametrize(("family", "untied"), CASES, ids=IDS)
def test_logits_equal_the_library_s(t5_models, family, untied):
    model = t5_models(family, untied)
    shared = model.lm_head.weight.data_ptr() == model.shared.weight.data_ptr()
    assert shared is not untied
    assert spread(model) >= 5
    input_ids, mask = make_inputs()
    with torch.no_grad():
        expected = answers(model, input_ids, mask)
        module = OneStepT5(model, FALSE_ID, TRUE_ID).eval()
        assert (module(input_ids, mask) - expected).abs().max() <= 1e-4
        unmasked = input_ids[:1], mask[:1]
        assert bool(mask[:1].all())
        assert (module(unmasked[0]) - answers(model, *unmasked)).abs().max() <= 1e-4
    assert supports(module)
    assert (fast_logits(module, "float32", input_ids, mask) - expected).abs().max() <= 1e-4


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("family", "untied"), CASES, ids=IDS)
def test_gradients_equal_the_library_s(t5_models, family, untied, checkpointing):
    theirs, ours = t5_models(family, untied), t5_models(family, untied)
    input_ids, mask = make_inputs()
    weight = torch.linspace(-1, 1, 32).view(16, 2)
    (answers(theirs, input_ids, mask) * weight).sum().backward()
    module = OneStepT5(ours, FALSE_ID, TRUE_ID, gradient_checkpointing=checkpointing)
    (module(input_ids, mask) * weight).sum().backward()
    compared = 0
    for (name, expected), actual in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        if actual.grad is None:
            # A softmax over one position has no gradient: the library computes a zero where we compute nothing.
            assert expected.grad is None or float(expected.grad.abs().max()) <= 1e-6, name
            continue
        error = (actual.grad - expected.grad).norm() / expected.grad.norm().clamp(min=1e-12)
        assert error <= 1e-4, (name, float(error))
        compared += 1
    assert compared > 30


@pytest.mark.parametrize("family", T5_FAMILIES)
def test_training_drops_what_the_library_drops(t5_models, family):
    model = t5_models(family, dropout=0.3).train()
    module = OneStepT5(model, FALSE_ID, TRUE_ID).train()
    input_ids, mask = make_inputs()
    torch.manual_seed(1)
    expected = answers(model, input_ids, mask)
    torch.manual_seed(1)
    actual = module(input_ids, mask)
    torch.manual_seed(2)
    other = module(input_ids, mask)
    # The same seed gives the same noise only if every site draws the same numbers in the same order.
    assert (actual - expected).abs().max() <= 1e-4
    assert (other - expected).abs().max() > 0.1


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
@pytest.mark.parametrize("family", T5_FAMILIES)
def test_low_precision_stays_near(t5_models, family, precision):
    model = t5_models(family)
    module = OneStepT5(model, FALSE_ID, TRUE_ID).eval()
    input_ids, mask = make_inputs()
    with torch.no_grad():
        exact = module(input_ids, mask)
    rough = fast_logits(module, precision, input_ids, mask)
    assert rough.dtype == torch.float32
    correlation = np.corrcoef(exact.flatten(), rough.flatten())[0, 1]
    assert correlation > 0.99
    assert (rough - exact).abs().mean() < 0.05 * spread(model)


@pytest.mark.parametrize("length", [1, 2, 17, 200])
def test_position_buckets_are_the_library_s(t5_models, length):
    attention = t5_models("t5-v1.0").encoder.block[0].layer[0].SelfAttention
    position = torch.arange(length)
    expected = attention._relative_position_bucket(position[None, :] - position[:, None])
    assert torch.equal(relative_buckets(length, 32, 128), expected)


def test_head_scale_follows_each_family(t5_models):
    scales = {family: head_scale(t5_models(family).config) for family in T5_FAMILIES}
    assert scales == {"t5-v1.0": 48**-0.5, "t5-v1.1": 1.0, "mt5": 1.0, "umt5": 48**-0.5}


def test_weights_are_shared_with_the_library_s_module(t5_models):
    model = t5_models("t5-v1.0")
    module = OneStepT5(model, FALSE_ID, TRUE_ID)
    assert {p.data_ptr() for p in module.parameters()} == {p.data_ptr() for p in model.parameters()}
    assert {name.removeprefix("t5.") for name in module.state_dict()} == set(model.state_dict())
