"""Tiny random models of every family and the texts they read."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoTokenizer,
    MT5Config,
    MT5ForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    UMT5Config,
    UMT5ForConditionalGeneration,
)

from inranker.rerankers.contract import FAMILIES, save_contract
from inranker.rerankers.vocabulary import train_vocabulary

VOCABULARY = 300
FALSE_ID, TRUE_ID = 17, 42
SHAPE = {
    "vocab_size": VOCABULARY,
    "d_model": 48,
    "d_ff": 96,
    "d_kv": 8,
    "num_heads": 4,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "decoder_start_token_id": 0,
}
T5_FAMILIES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "t5-v1.0": (T5Config, T5ForConditionalGeneration, {}),
    "t5-v1.1": (
        T5Config,
        T5ForConditionalGeneration,
        {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "mt5": (MT5Config, MT5ForConditionalGeneration, {}),
    "umt5": (UMT5Config, UMT5ForConditionalGeneration, {}),
}
WORDS = "wing lift drag flow heat shock wave plate cone jet boundary layer speed pressure theory test".split()


def make_t5(family: str, untied: bool = False, dropout: float = 0.1) -> Any:
    """A random model of the family whose answers spread over at least five units on `make_inputs`."""
    config_class, model_class, fields = T5_FAMILIES[family]
    torch.manual_seed(11)
    model = model_class(config_class(**{**SHAPE, **fields, "dropout_rate": dropout})).eval()
    if untied:
        # The library ties the head of every T5 whatever the config says.
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    # A fresh model hardly looks at its input: let it, then widen what it says.
    for block in model.decoder.block:
        block.layer[1].EncDecAttention.o.weight.data.mul_(8)
    while spread(model) < 6:
        model.decoder.final_layer_norm.weight.data.mul_(1.5)
    return model


def spread(model: Any) -> float:
    """Smaller range of the two logits over `make_inputs`."""
    with torch.no_grad():
        logits = answers(model, *make_inputs())
    return float((logits.max(0).values - logits.min(0).values).min())


def make_inputs() -> tuple[torch.Tensor, torch.Tensor]:
    """Sixteen padded inputs of 1 to 40 random tokens; (input_ids [B, L], mask [B, L] bool)."""
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(1, 41, (16,), generator=generator)
    lengths[0], lengths[1] = 40, 1
    input_ids = torch.randint(2, VOCABULARY, (16, 40), generator=generator)
    mask = torch.arange(40)[None, :] < lengths[:, None]
    return input_ids.masked_fill(~mask, 0), mask


def answers(model: Any, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Hugging Face's own logits [B, 2] of the two answers at the first decoder position."""
    start = torch.zeros((len(input_ids), 1), dtype=torch.long)
    logits = model(input_ids=input_ids, attention_mask=mask.long(), decoder_input_ids=start).logits
    return logits[:, 0, [FALSE_ID, TRUE_ID]]


@pytest.fixture(scope="session")
def t5_models() -> Callable[..., Any]:
    """`t5_models(family, untied)` gives a fresh copy of a tiny random model."""
    made: dict[tuple, Any] = {}

    def get(family: str, untied: bool = False, dropout: float = 0.1) -> Any:
        key = (family, untied, dropout)
        if key not in made:
            made[key] = make_t5(*key)
        return copy.deepcopy(made[key])

    return get


@pytest.fixture(scope="session")
def texts() -> tuple[list[str], list[str]]:
    """(queries, passages) of sixty pairs whose passages have 1 to 60 words."""
    queries = [f"what is {WORDS[i % 5]} {WORDS[(i * 3) % 7]}" for i in range(60)]
    passages = [" ".join(WORDS[(i * 7 + j * j) % len(WORDS)] for j in range(i + 1)) for i in range(60)]
    return queries, passages


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, texts: tuple[list[str], list[str]]) -> Path:
    """A tiny monoT5 directory: weights, tokenizer, reranker.json."""
    folder = tmp_path_factory.mktemp("reranker")
    train_vocabulary([*texts[0], *texts[1]], VOCABULARY, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(5)
    config = T5Config(**{**SHAPE, "vocab_size": len(tokenizer)})
    T5ForConditionalGeneration(config).save_pretrained(folder)
    save_contract(folder, FAMILIES["monot5"])
    return folder


@pytest.fixture(scope="session")
def t5_tokenizer(shared_dir: Path) -> Any:
    """The real T5 vocabulary."""
    folder = shared_dir / "tokenizers" / "t5"
    if not folder.is_dir():
        pytest.skip(f"the T5 vocabulary is not at {folder}")
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def real_pairs(shared_dir: Path) -> list[tuple[str, str]]:
    """One thousand (query, passage) pairs of two real collections, some longer than a model reads."""
    pairs = []
    for name in ("msmarco_dl_5k", "scifact"):
        folder = shared_dir / "collections" / name
        queries, documents = (
            [json.loads(line) for line in (folder / file).read_text(encoding="utf-8").splitlines()[:500]]
            for file in ("queries.jsonl", "corpus.jsonl")
        )
        for i, document in enumerate(documents):
            passage = f"{document.get('title', '')} {document['text']}".strip()
            pairs.append((queries[i % len(queries)]["text"], passage))
    return pairs


@pytest.fixture
def byte_level() -> Any:
    """A byte-level BPE tokenizer (GPT and Qwen style), which merges across spaces."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=["<end>"], show_progress=False
    )
    backend.train_from_iterator([" ".join(WORDS)] * 3 + ["yes no"] * 9, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", pad_token="<end>")


@pytest.fixture
def word_piece() -> Any:
    """A BERT-style word tokenizer with [CLS], [SEP] and token types."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {token: i for i, token in enumerate([*special, *dict.fromkeys(WORDS)])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special, strict=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_input_names=["input_ids", "token_type_ids", "attention_mask"], **names
    )
