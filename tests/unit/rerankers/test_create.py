"""New T5 rerankers: loadable, of the shape asked for, the same bytes for the same seed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from inranker.errors import UserError
from inranker.rerankers import load_contract, load_reranker, scorer_identity
from inranker.rerankers.create import T5Shape, create_t5
from inranker.rerankers.vocabulary import train_vocabulary

TINY = T5Shape(d_model=16, d_ff=32, d_kv=8, num_heads=2, num_layers=2, num_decoder_layers=1)
TEXTS = ["The quick brown fox jumps over the lazy dog.", "Sphinx of black quartz, judge my vow: 0123456789."] * 3


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary")
    train_vocabulary(TEXTS, 120, path)
    return path


def bytes_of(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def test_same_seed_same_bytes_and_another_seed_others(vocabulary: Path, tmp_path: Path) -> None:
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    create_t5(TINY, vocabulary, 3, tmp_path / "a")
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(5)
    create_t5(TINY, vocabulary, 3, tmp_path / "b")
    create_t5(TINY, vocabulary, 4, tmp_path / "c")
    a, b, c = (bytes_of(tmp_path / name) for name in "abc")
    assert a == b
    assert [name for name in a if a[name] != c[name]] == ["model.safetensors"]


@pytest.mark.parametrize("feed_forward_proj", ["relu", "gated-gelu"])
def test_hugging_face_reads_it_back(vocabulary: Path, tmp_path: Path, feed_forward_proj: str) -> None:
    shape = T5Shape(16, 32, 8, 2, 2, 1, feed_forward_proj, 0.0)  # type: ignore[arg-type]
    figures = create_t5(shape, vocabulary, 0, tmp_path)
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert (model.config.num_layers, model.config.num_decoder_layers, model.config.dropout_rate) == (2, 1, 0.0)
    assert model.config.feed_forward_proj == feed_forward_proj
    assert model.config.vocab_size == figures["vocabulary"] == 128 >= len(tokenizer)
    assert figures["parameters"] == sum(parameter.numel() for parameter in model.parameters())


def test_it_is_a_reranker(vocabulary: Path, tmp_path: Path) -> None:
    create_t5(TINY, vocabulary, 0, tmp_path, max_length=64)
    contract = load_contract(tmp_path)
    assert (contract.false_token, contract.true_token, contract.max_length) == ("▁false", "▁true", 64)
    assert contract.template == "Query: {query} Document: {document} Relevant:"
    reranker = load_reranker(tmp_path)
    scores = reranker.score(["fox", "fox", "vow"], ["The quick brown fox", "judge my vow", "judge my vow"])
    assert scores.shape == (3,) and np.isfinite(scores).all() and len(set(scores.tolist())) == 3
    assert scorer_identity(tmp_path)["token_ids"] == reranker.encoder.tokenizer.convert_tokens_to_ids(
        ["▁false", "▁true"]
    )


def test_real_vocabulary_gives_t5s_embedding_rows(shared_dir: Path, tmp_path: Path) -> None:
    for source in ("t5", "t5/spiece.model"):
        figures = create_t5(TINY, shared_dir / "tokenizers" / source, 0, tmp_path / source.replace("/", "-"))
        assert figures["vocabulary"] == 32128
        assert scorer_identity(tmp_path / source.replace("/", "-"))["token_ids"] == [6136, 1176]


def test_tokens_that_are_no_pieces_are_refused_before_anything_is_written(vocabulary: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="▁sim"):
        create_t5(TINY, vocabulary, 0, tmp_path / "model", true_token="▁sim")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("shape", "field"),
    [
        (T5Shape(d_model=0), "d_model"),
        (T5Shape(num_layers=0), "num_layers"),
        (T5Shape(dropout_rate=1.0), "dropout_rate"),
    ],
)
def test_bad_shapes_are_named(vocabulary: Path, tmp_path: Path, shape: T5Shape, field: str) -> None:
    with pytest.raises(UserError, match=field):
        create_t5(shape, vocabulary, 0, tmp_path / "model")


@pytest.mark.parametrize(("start", "least", "most"), [("random", 0.0, 0.3), ("matching", 0.4, 1.0)])
def test_a_matching_start_attends_to_the_same_token_elsewhere(
    vocabulary: Path, tmp_path: Path, start: Any, least: float, most: float
) -> None:
    create_t5(T5Shape(64, 64, 64, 2, 1, 1), vocabulary, 0, tmp_path, start)
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    tokens_L = torch.randperm(100, generator=torch.Generator().manual_seed(1))[:40] + 5
    tokens_L[30] = tokens_L[4]
    with torch.no_grad():
        (attention_BHLL,) = model.encoder(tokens_L[None], output_attentions=True).attentions
    twin = attention_BHLL[0, :, 4, 30].mean().item()
    assert least <= twin <= most
    assert attention_BHLL[0, :, 4, 4].mean().item() < 0.2  # not to itself


def test_unknown_contract_field_is_named(vocabulary: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="colour"):
        create_t5(TINY, vocabulary, 0, tmp_path / "model", colour="red")
