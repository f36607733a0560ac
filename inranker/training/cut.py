"""A smaller start out of a bigger model: some of its layers, where no small pre-trained model exists."""

import re
from typing import Any

from torch import nn

from inranker.errors import UserError

RULE = re.compile(r"(first|last|every) ([1-9][0-9]*)")
LISTED = re.compile(r"only ([0-9]+(?:, ?[0-9]+)*)")


def layers_to_keep(rule: str, count: int) -> list[int]:
    """Numbers of the layers that a rule keeps, of `count`.

    `first 3`, `last 3`, `every 2` (the first, then each second one), or `only 0, 2, 5` (counted from 0).

    Raises:
        UserError: it is no rule, asks for more layers than there are, or lists them out of order.
    """
    listed = LISTED.fullmatch(rule.strip())
    if listed is not None:
        return _listed(rule, [int(number) for number in listed[1].split(",")], count)
    matched = RULE.fullmatch(rule.strip())
    if matched is None:
        raise UserError(f"{rule!r} is no rule for layers; say `first 3`, `last 3`, `every 2` or `only 0, 2, 5`")
    word, number = matched[1], int(matched[2])
    if word != "every" and number > count:
        raise UserError(f"{rule!r} asks for more layers than the {count} there are")
    if word == "every":
        return list(range(0, count, number))
    return list(range(number)) if word == "first" else list(range(count - number, count))


def _listed(rule: str, numbers: list[int], count: int) -> list[int]:
    """Layers named one by one: layers build on each other, so an order other than the model's is a slip."""
    if numbers != sorted(set(numbers)):
        raise UserError(f"{rule!r}: name each layer once, in ascending order")
    if numbers[-1] >= count:
        raise UserError(f"{rule!r} asks for layer {numbers[-1]}, but the {count} layers are 0 to {count - 1}")
    return numbers


def cut(t5: Any, encoder: str | None, decoder: str | None) -> None:
    """Keep some layers of a Hugging Face T5, in place.

    Args:
        t5: a `*T5ForConditionalGeneration`.
        encoder, decoder: rules of `layers_to_keep`; None keeps all.
    """
    if encoder is not None:
        _cut_stack(t5.encoder, layers_to_keep(encoder, len(t5.encoder.block)))
        t5.config.num_layers = len(t5.encoder.block)
    if decoder is not None:
        _cut_stack(t5.decoder, layers_to_keep(decoder, len(t5.decoder.block)))
        t5.config.num_decoder_layers = len(t5.decoder.block)


def cut_encoder(classifier: Any, rule: str) -> None:
    """Keep some layers of a Hugging Face sequence classifier that is built as BERT is, in place.

    Embeddings, pooler and head stay, as in DistilBERT's start (Sanh et al. 2019, https://arxiv.org/abs/1910.01108).

    Raises:
        UserError: it is built otherwise, or the rule is none.
    """
    stack: Any = getattr(classifier.base_model, "encoder", None)
    layers = getattr(stack, "layer", None)
    if not isinstance(layers, nn.ModuleList):
        raise UserError(
            f"encoder_layers: layers of a {type(classifier).__name__} cannot be left out; those of BERT, RoBERTa, "
            "ELECTRA or T5 can"
        )
    stack.layer = nn.ModuleList([layers[number] for number in layers_to_keep(rule, len(layers))])
    classifier.config.num_hidden_layers = len(stack.layer)


def _cut_stack(stack: Any, kept: list[int]) -> None:
    """The first layer of most T5s holds the position biases of all; it hands them to whichever comes first now."""
    old = stack.block[0].layer[0].SelfAttention
    stack.block = nn.ModuleList([stack.block[number] for number in kept])
    stack.config.num_layers = len(kept)
    first = stack.block[0].layer[0].SelfAttention
    if not first.has_relative_attention_bias:
        first.relative_attention_bias = old.relative_attention_bias
        first.has_relative_attention_bias = True
    for number, block in enumerate(stack.block):
        for layer in block.layer[:-1]:
            attention = getattr(layer, "SelfAttention", None) or layer.EncDecAttention
            attention.layer_idx = number
