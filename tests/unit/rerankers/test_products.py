"""Training on CPUs: the products, norm and attention of a T5 block against torch's own modules."""

import pytest
import torch
from torch.nn import functional as F

from inranker.rerankers import products
from inranker.rerankers.t5 import OneStepT5

from .conftest import FALSE_ID, T5_FAMILIES, TRUE_ID

PAIRS, LENGTH = 8, 40


def close(actual, expected):
    assert (actual - expected).norm() <= 1e-5 * expected.norm()


def with_gradients(function, *inputs):
    """A function's value, and the gradients of a fixed weighting of it by every input."""
    inputs = [value.detach().clone().requires_grad_() for value in inputs]
    value = function(*inputs)
    (value * torch.linspace(-1, 1, value.numel()).view_as(value)).sum().backward()
    return value.detach(), *(given.grad for given in inputs)


@pytest.mark.parametrize("relu", [False, True])
def test_a_product_and_its_gradients(relu):
    torch.manual_seed(0)
    given = torch.randn(70, 24), torch.randn(36, 24)
    expected = with_gradients(lambda x, w: F.relu(F.linear(x, w)) if relu else F.linear(x, w), *given)
    for actual, wanted in zip(with_gradients(lambda x, w: products.product(x, w, relu), *given), expected, strict=True):
        close(actual, wanted)


def test_a_norm_and_its_gradients():
    torch.manual_seed(0)
    given = 3 * torch.randn(70, 24), torch.randn(24)
    expected = with_gradients(lambda x, w: F.rms_norm(x, (24,), w, 1e-3), *given)
    for actual, wanted in zip(with_gradients(lambda x, w: products.norm(x, w, 1e-3), *given), expected, strict=True):
        close(actual, wanted)


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("family", T5_FAMILIES)
def test_an_encoder_and_its_gradients(t5_models, family, rate, monkeypatch):
    module = OneStepT5(t5_models(family, dropout=rate).train(), FALSE_ID, TRUE_ID)
    torch.manual_seed(0)
    embedded = torch.randn(PAIRS, LENGTH, module.t5.config.d_model)
    mask = torch.arange(LENGTH) < torch.arange(LENGTH, LENGTH - PAIRS, -1)[:, None]
    assert products.fits(module.t5.encoder, embedded)

    def encode(states):
        return module.encode(states, mask) * mask[:, :, None]

    def run():
        torch.manual_seed(1)
        module.zero_grad()
        value, of_states = with_gradients(encode, embedded)
        weights = {name: own.grad.clone() for name, own in module.named_parameters() if own.grad is not None}
        return {"value": value, "states": of_states, **weights}

    actual = run()
    monkeypatch.setattr(products, "fits", lambda *_: False)
    expected = run()
    assert actual.keys() == expected.keys() and len(actual) >= 10
    for name, wanted in expected.items():
        close(actual[name], wanted)


def test_tokens_lie_end_to_end_and_back():
    torch.manual_seed(0)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    layout, given = products.Layout((2, 3), mask), torch.randn(2, 3, 4)
    packed, of_given = with_gradients(layout.pack, given)
    assert torch.equal(packed, given[mask])
    assert not of_given[~mask].any() and of_given[mask].all()
    padded, of_packed = with_gradients(layout.pad, packed)
    assert torch.equal(padded, given * mask[:, :, None]) and of_packed.shape == packed.shape
    assert torch.equal(products.Layout((2, 3), None).pad(given.flatten(0, 1)), given)


def test_only_training_in_float32_with_whole_weights_goes_this_way(t5_models, monkeypatch):
    encoder = t5_models("t5-v1.0", dropout=0.2).train().encoder
    states = torch.randn(PAIRS, LENGTH, encoder.config.d_model)
    assert products.fits(encoder, states)
    assert products.fits(encoder, states[:1, :1]), "workers whose batches differ must go the same way"
    assert not products.fits(encoder, states.bfloat16())
    with torch.no_grad():
        assert not products.fits(encoder, states)
    monkeypatch.setattr(encoder.block[0].layer[1].DenseReluDense.wo.weight, "ds_id", 0, raising=False)
    assert not products.fits(encoder, states)


def test_a_training_step_takes_this_way(t5_models, monkeypatch):
    taken, layer = [], products.encoder_layer
    monkeypatch.setattr(products, "encoder_layer", lambda *given, **named: (taken.append(1), layer(*given, **named))[1])
    model = t5_models("t5-v1.0", dropout=0.2).train()
    module = OneStepT5(model, FALSE_ID, TRUE_ID)
    module(torch.randint(5, 60, (PAIRS, LENGTH))).sum().backward()
    assert len(taken) == len(model.encoder.block)
