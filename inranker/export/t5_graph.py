"""The one-step T5 as an ONNX graph, written operator by operator from the weights.

What the module in `rerankers/t5.py` does, in the same order, except what a graph can know beforehand: q, k and v are
one product, the bias is looked up by distance, the decoder's first self-attention is one folded matrix, and what does
not depend on the input (the whole first query of the decoder) is left to the runtime to fold.

Dimensions: B pairs, L tokens, D model, H heads, K head width.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..errors import UserError
from ..rerankers.t5 import OneStepT5, relative_buckets
from .graph import Graph

# Added to a score, this leaves no weight to a padding token, and no bias can lift it.
NEVER = -1e9
# (state, weight, name) -> product: exact or with 8-bit numbers.
Linear = Callable[[str, Any, str], str]


def t5_graph(module: OneStepT5, quantised: bool = False, reduce_range: bool = False) -> Any:
    """The model of `module`, see `Graph.model` for its inputs and output.

    Args:
        module: float32 weights on the CPU.
        quantised: 8-bit products in the encoder; the decoder sees one position, so its own cost nothing and stay exact.
        reduce_range: 7-bit weights, for processors that add two products in 16 bits (x86 without VNNI).

    Raises:
        UserError: the feed-forward has an activation that is not known here.
    """
    graph, t5 = Graph(), module.t5
    padding_B1L = _padding(graph)
    encoder_linear = partial(graph.quantised_linear, largest_weight=63 if reduce_range else 127)
    states_BLD = _encode(graph, t5, padding_B1L, encoder_linear if quantised else graph.linear)
    return graph.model(_decode(graph, module, states_BLD, padding_B1L))


def _padding(graph: Graph) -> str:
    """What is added to scores: 0 at tokens, NEVER at padding, [B, 1, L]."""
    here = graph.op("Cast", "attention_mask", to=9)  # bool
    row_BL = graph.op("Where", here, graph.number(0.0), graph.number(NEVER))
    return graph.op("Unsqueeze", row_BL, graph.integers(1))


def _encode(graph: Graph, t5: Any, padding_B1L: str, linear: Linear) -> str:
    stack, config = t5.encoder, t5.config
    padding_B11L = graph.op("Unsqueeze", padding_B1L, graph.integers(1))
    table = graph.constant(stack.embed_tokens.weight.detach().float().numpy(), "embeddings")
    state = graph.op("Gather", table, "input_ids")
    bias = ""
    for index, block in enumerate(stack.block):
        name = f"encoder.{index}"
        attention = block.layer[0].SelfAttention
        if attention.has_relative_attention_bias:
            bias = graph.op("Add", _position_bias(graph, attention, name), padding_B11L)
        normed = graph.rms_norm(state, block.layer[0].layer_norm.weight, config.layer_norm_epsilon, f"{name}.norm")
        state = graph.op("Add", state, _self_attention(graph, attention, normed, bias, name, linear))
        normed = graph.rms_norm(state, block.layer[1].layer_norm.weight, config.layer_norm_epsilon, f"{name}.norm2")
        update = _feed_forward(graph, block.layer[1].DenseReluDense, config, normed, name, linear)
        state = graph.op("Add", state, update)
    return graph.rms_norm(state, stack.final_layer_norm.weight, config.layer_norm_epsilon, "encoder.norm")


def _position_bias(graph: Graph, attention: Any, name: str) -> str:
    """Bias [1, H, L, L] by distance; from `relative_attention_max_distance` on all distances are one bucket."""
    farthest = attention.relative_attention_max_distance
    buckets_LL = relative_buckets(farthest + 1, attention.relative_attention_num_buckets, farthest)
    # Seen from the first token everything is ahead, from the last everything behind.
    by_distance = np.concatenate([buckets_LL[-1, :-1].numpy(), buckets_LL[0].numpy()])
    table_H = attention.relative_attention_bias.weight.detach().float().numpy()[by_distance]
    table = graph.constant(table_H, f"{name}.bias")
    length = graph.op("Shape", "input_ids", start=1, end=2)
    scalar = graph.op("Squeeze", length, graph.integers(0))
    zero, one = graph.constant(np.array(0, np.int64)), graph.constant(np.array(1, np.int64))
    position_L = graph.op("Range", zero, scalar, one)
    keys, queries = (graph.op("Unsqueeze", position_L, graph.integers(axis)) for axis in (0, 1))
    ahead_LL = graph.op("Sub", keys, queries)
    low, high = (graph.constant(np.array(value, np.int64)) for value in (-farthest, farthest))
    place_LL = graph.op("Add", graph.op("Clip", ahead_LL, low, high), high)
    bias_HLL = graph.op("Transpose", graph.op("Gather", table, place_LL), perm=[2, 0, 1])
    return graph.op("Unsqueeze", bias_HLL, graph.integers(0))


def _self_attention(graph: Graph, attention: Any, normed: str, bias: str, name: str, linear: Linear) -> str:
    import torch

    heads, width = attention.n_heads, attention.key_value_proj_dim
    weight = torch.cat([attention.q.weight, attention.k.weight, attention.v.weight])
    qkv = linear(normed, weight, f"{name}.qkv")
    parts = graph.op("Split", qkv, outputs=3, axis=-1, num_outputs=3)
    by_head = [graph.op("Reshape", part, graph.integers(0, 0, heads, width)) for part in parts]
    query, value = (graph.op("Transpose", by_head[i], perm=[0, 2, 1, 3]) for i in (0, 2))
    key = graph.op("Transpose", by_head[1], perm=[0, 2, 3, 1])
    weights = graph.op("Softmax", graph.op("Add", graph.op("MatMul", query, key), bias), axis=-1)
    pooled = graph.op("Transpose", graph.op("MatMul", weights, value), perm=[0, 2, 1, 3])
    pooled = graph.op("Reshape", pooled, graph.integers(0, 0, heads * width))
    return linear(pooled, attention.o.weight, f"{name}.out")


def _feed_forward(graph: Graph, dense: Any, config: Any, normed: str, name: str, linear: Linear) -> str:
    activation = ACTIVATIONS.get(config.dense_act_fn)
    if activation is None:
        raise UserError(
            f"a T5 with activation {config.dense_act_fn!r} has no ONNX export; those with {', '.join(ACTIVATIONS)} have"
        )
    first = dense.wi_0 if config.is_gated_act else dense.wi
    hidden = activation(graph, linear(normed, first.weight, f"{name}.up"))
    if config.is_gated_act:
        hidden = graph.op("Mul", hidden, linear(normed, dense.wi_1.weight, f"{name}.gate"))
    return linear(hidden, dense.wo.weight, f"{name}.down")


def _silu(graph: Graph, state: str) -> str:
    return graph.op("Mul", state, graph.op("Sigmoid", state))


ACTIVATIONS = {
    "relu": lambda graph, state: graph.op("Relu", state),
    "gelu_new": lambda graph, state: graph.op("Gelu", state, approximate="tanh"),
    "gelu": lambda graph, state: graph.op("Gelu", state),
    "silu": _silu,
}


def _decode(graph: Graph, module: OneStepT5, states_BLD: str, padding_B1L: str) -> str:
    """Logits [B, 2] of the first decoder position; until the first cross-attention the state is one constant row."""
    t5 = module.t5
    config, stack = t5.config, t5.decoder
    start = stack.embed_tokens.weight[module.start_id].detach().float()
    state = graph.constant(start[None].numpy(), "decoder.start")
    turned_BDL = graph.op("Transpose", states_BLD, perm=[0, 2, 1])

    def normed(layer: Any, name: str) -> str:
        return graph.rms_norm(state, layer.layer_norm.weight, config.layer_norm_epsilon, name)

    for index, block in enumerate(stack.block):
        name = f"decoder.{index}"
        own = block.layer[0].SelfAttention
        collapsed = own.o.weight.detach().float() @ own.v.weight.detach().float()
        state = graph.op(
            "Add", state, graph.linear(normed(block.layer[0], f"{name}.norm0"), collapsed, f"{name}.itself")
        )
        attended = _cross_attention(
            graph,
            block.layer[1].EncDecAttention,
            normed(block.layer[1], f"{name}.norm1"),
            (states_BLD, turned_BDL, padding_B1L),
            name,
        )
        state = graph.op("Add", state, attended)
        update = _feed_forward(
            graph, block.layer[2].DenseReluDense, config, normed(block.layer[2], f"{name}.norm2"), name, graph.linear
        )
        state = graph.op("Add", state, update)
    state = graph.rms_norm(state, stack.final_layer_norm.weight, config.layer_norm_epsilon, "decoder.norm")
    answers_2D = t5.lm_head.weight[list(module.answer_ids)].detach().float() * module.head_scale
    return graph.linear(state, answers_2D, "head")


def _cross_attention(graph: Graph, attention: Any, normed: str, states: tuple[str, str, str], name: str) -> str:
    """One query over the encoder's states, keys and values never made (see `rerankers.t5.cross_attention`)."""
    states_BLD, turned_BDL, padding_B1L = states
    heads, width = attention.n_heads, attention.key_value_proj_dim
    key_HKD, value_HKD = (
        projection.weight.detach().float().unflatten(0, (heads, width)) for projection in (attention.k, attention.v)
    )
    key = graph.constant(key_HKD.contiguous().numpy(), f"{name}.key.weight")
    value = graph.constant(value_HKD.transpose(1, 2).contiguous().numpy(), f"{name}.value.weight")
    query = graph.linear(normed, attention.q.weight, f"{name}.query")
    query_HBK = graph.op("Transpose", graph.op("Reshape", query, graph.integers(-1, heads, width)), perm=[1, 0, 2])
    query_BHD = graph.op("Transpose", graph.op("MatMul", query_HBK, key), perm=[1, 0, 2])
    scores_BHL = graph.op("Add", graph.op("MatMul", query_BHD, turned_BDL), padding_B1L)
    pooled_BHD = graph.op("MatMul", graph.op("Softmax", scores_BHL, axis=-1), states_BLD)
    pooled_HBD = graph.op("Transpose", pooled_BHD, perm=[1, 0, 2])
    value_BHK = graph.op("Transpose", graph.op("MatMul", pooled_HBD, value), perm=[1, 0, 2])
    return graph.linear(
        graph.op("Reshape", value_BHK, graph.integers(-1, heads * width)), attention.o.weight, f"{name}.out"
    )
