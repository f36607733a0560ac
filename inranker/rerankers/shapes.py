"""Shapes of published models, so that a plan needs neither their weights nor a network.

A checkpoint that is at hand is read; of others this table has what its config.json says. A new model is one line.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from .contract import FAMILIES, Architecture, Contract, load_contract

T5_SMALL = {"d_model": 512, "d_ff": 2048, "d_kv": 64, "num_heads": 8, "num_layers": 6}
T5_BASE = {"d_model": 768, "d_ff": 3072, "d_kv": 64, "num_heads": 12, "num_layers": 12}
T5_LARGE = {"d_model": 1024, "d_ff": 4096, "d_kv": 64, "num_heads": 16, "num_layers": 24}
T5_3B = {"d_model": 1024, "d_ff": 16384, "d_kv": 128, "num_heads": 32, "num_layers": 24}


def _t5(size: dict[str, int], family: str) -> tuple[str, str, dict[str, Any]]:
    return "t5", family, {**size, "vocab_size": 32128, "dropout_rate": 0.1}


def _qwen(kind: str, family: str, hidden: int, inner: int, layers: int, heads: int, keys: int, **more: Any) -> Any:
    sizes = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers}
    return (
        kind,
        family,
        {**sizes, "num_attention_heads": heads, "num_key_value_heads": keys, "vocab_size": 151936} | more,
    )


# name -> model type, family of its contract ("" where it is no reranker), fields of its config
KNOWN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "google-t5/t5-small": _t5(T5_SMALL, ""),
    "google-t5/t5-base": _t5(T5_BASE, ""),
    "google-t5/t5-large": _t5(T5_LARGE, ""),
    "google-t5/t5-3b": _t5(T5_3B, ""),
    "castorini/monot5-3b-msmarco": _t5(T5_3B, "monot5"),
    "castorini/monot5-3b-msmarco-10k": _t5(T5_3B, "monot5"),
    "unicamp-dl/ptt5-small-portuguese-vocab": _t5(T5_SMALL, "ptt5"),
    "unicamp-dl/ptt5-base-portuguese-vocab": _t5(T5_BASE, "ptt5"),
    "unicamp-dl/ptt5-large-portuguese-vocab": _t5(T5_LARGE, "ptt5"),
    "unicamp-dl/ptt5-v2-small": _t5(T5_SMALL, "ptt5"),
    "unicamp-dl/ptt5-v2-base": _t5(T5_BASE, "ptt5"),
    "unicamp-dl/ptt5-v2-large": _t5(T5_LARGE, "ptt5"),
    "unicamp-dl/mt5-3B-mmarco-en-pt": (
        "mt5",
        "mt5-xl",
        {"d_model": 2048, "d_ff": 5120, "d_kv": 64, "num_heads": 32, "num_layers": 24, "vocab_size": 250112},
    ),
    "answerdotai/ModernBERT-base": (
        "modernbert",
        "cross-encoder",
        {"hidden_size": 768, "intermediate_size": 1152, "num_hidden_layers": 22, "num_attention_heads": 12},
    ),
    "BAAI/bge-reranker-v2-m3": (
        "xlm-roberta",
        "cross-encoder",
        {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
        | {"vocab_size": 250002, "max_position_embeddings": 8194, "type_vocab_size": 1},
    ),
    "Qwen/Qwen3-Reranker-4B": _qwen("qwen3", "qwen3-reranker", 2560, 9728, 36, 32, 8, tie_word_embeddings=True),
    "Qwen/Qwen3-8B": _qwen("qwen3", "", 4096, 12288, 36, 32, 8, head_dim=128, tie_word_embeddings=False),
    "mixedbread-ai/mxbai-rerank-large-v2": _qwen(
        "qwen2", "mxbai-rerank-v2", 1536, 8960, 28, 12, 2, tie_word_embeddings=True
    ),
    "EleutherAI/gpt-j-6b": (
        "gptj",
        "",
        {"n_embd": 4096, "n_layer": 28, "n_head": 16, "vocab_size": 50400, "tie_word_embeddings": False},
    ),
}
ENCODERS = ("bert", "modernbert", "roberta", "xlm-roberta", "deberta-v2", "electra")


@dataclass(frozen=True)
class Planned:
    """A model as far as a plan needs it: its Hugging Face config, how it is read, and the longest input in tokens."""

    shape: Any
    architecture: Architecture
    max_length: int


def planned_model(name: str | Path, **overrides: Any) -> Planned:
    """A checkpoint directory, or a published model by its hub id.

    Args:
        overrides: fields of its contract; `family` for a start that is no reranker yet.

    Raises:
        UserError: there is no such directory and the table has no such name, or its family is not known.
    """
    from transformers import AutoConfig

    chosen = {field: value for field, value in overrides.items() if value is not None}
    if Path(name).is_dir():
        path = Path(name)
        contract = load_contract(path, **chosen)
        return Planned(AutoConfig.from_pretrained(path), contract.architecture, contract.max_length)
    if str(name) not in KNOWN:
        raise UserError(
            f"{name}: no such directory, and its shape is not known; fetch it, or add a line to KNOWN in "
            "inranker/rerankers/shapes.py"
        )
    kind, family, fields = KNOWN[str(name)]
    if _architecture(kind) == "t5":
        fields = {"decoder_start_token_id": 0, **fields}
    return Planned(AutoConfig.for_model(kind, **fields), _architecture(kind), _contract(family, chosen).max_length)


def parameters_of(shape: Any) -> int:
    """Parameters of a model of this shape, counted without making it."""
    return _parameters(json.dumps(shape.to_dict(), sort_keys=True, default=str))


@functools.cache
def _parameters(fields: str) -> int:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

    classes = {
        "t5": AutoModelForSeq2SeqLM,
        "encoder": AutoModelForSequenceClassification,
        "causal": AutoModelForCausalLM,
    }
    known = json.loads(fields)
    kind = known.pop("model_type")
    with torch.device("meta"):
        module = classes[_architecture(kind)].from_config(AutoConfig.for_model(kind, **known))
    return sum(parameter.numel() for parameter in module.parameters())


def _architecture(kind: str) -> Architecture:
    return "t5" if kind.endswith("t5") else "encoder" if kind in ENCODERS else "causal"


def _contract(family: str, chosen: dict[str, Any]) -> Contract:
    name = chosen.get("family") or family
    base = FAMILIES.get(name, FAMILIES["monot5"])
    return Contract(**{**vars(base), **{key: value for key, value in chosen.items() if key in vars(base)}})
