"""A pruned vocabulary reads the texts it was made from as before, and everything else in smaller pieces."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from inranker.corpora import open_collection
from inranker.distill import STAGES
from inranker.errors import UserError
from inranker.rerankers import load_reranker
from inranker.rerankers.contract import FAMILIES
from inranker.rerankers.encode import PairEncoder
from inranker.rerankers.head import create_cross_encoder
from inranker.rerankers.prune import kept_ids, prune_vocabulary
from inranker.shrinking import ShrinkConfig, ShrinkIdentity, shrink
from tests.unit.beir_folder import QRELS, write_beir

SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}


WORDS = "wing lift drag flow bees honey wasps make build press ##ure ##s ##st of a".split()


def tokenizer_with_letters():
    letters = "abcdefghijklmnopqrstuvwxyz"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    pieces = dict.fromkeys([*special, *WORDS, *letters, *(f"##{letter}" for letter in letters)])
    backend = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special, strict=True))
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=inputs, **names)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    word_piece = tokenizer_with_letters()
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(5)
    model = BertModel(BertConfig(**SHAPE, vocab_size=len(word_piece), max_position_embeddings=64, pad_token_id=0))
    model.save_pretrained(folder / "plain")
    word_piece.save_pretrained(folder / "plain")
    create_cross_encoder(folder / "plain", 1, folder / "start", max_length=48)
    return folder / "start"


@pytest.mark.parametrize("family", ["encoder", "t5"])
def test_pairs_of_the_texts_keep_their_tokens_and_logits(family, request, tmp_path, texts):
    path = request.getfixturevalue("encoder" if family == "encoder" else "checkpoint")
    queries, passages = texts[0][:6], texts[1][:6]
    start = load_reranker(path)
    tokenizer, size, weights = start.encoder.tokenizer, len(start.encoder.tokenizer), start.parameters_count
    pieces = [tokenizer.tokenize(text) for text in queries + passages]
    logits = start.logits(start.encoder.encode(queries, passages))
    prune_vocabulary(start, queries + passages).save(tmp_path)
    pruned = load_reranker(tmp_path)
    assert [pruned.encoder.tokenizer.tokenize(text) for text in queries + passages] == pieces
    assert len(pruned.encoder.tokenizer) < size and pruned.parameters_count < weights
    np.testing.assert_allclose(pruned.logits(pruned.encoder.encode(queries, passages)), logits, atol=1e-6)


def test_words_that_the_texts_lack_become_letters(encoder, tmp_path):
    start = load_reranker(encoder)
    assert start.encoder.tokenizer.tokenize("pressure") == ["press", "##ure"]
    pruned = prune_vocabulary(start, ["wing"]).encoder.tokenizer
    assert "".join(piece.removeprefix("##") for piece in pruned.tokenize("pressure")) == "pressure"
    assert pruned.unk_token_id not in pruned("pressure")["input_ids"]


def test_of_too_many_pieces_the_rarest_go_and_their_words_become_shorter_ones(encoder):
    texts = ["press wing press wing press flow"]
    used = len(kept_ids(load_reranker(encoder).encoder, texts))
    without = prune_vocabulary(load_reranker(encoder), texts, used - 1)
    tokenizer = without.encoder.tokenizer
    assert len(tokenizer) == used - 1 == without.module.model.get_input_embeddings().num_embeddings
    assert tokenizer.tokenize("press wing") == ["press", "wing"]
    assert len(tokenizer.tokenize("flow")) > 1 and tokenizer.unk_token_id not in tokenizer("flow")["input_ids"]
    with pytest.raises(UserError, match="single characters alone"):
        kept_ids(load_reranker(encoder).encoder, texts, 5)


def test_a_size_needs_the_texts_that_say_what_is_rare(encoder, tmp_path):
    with pytest.raises(UserError, match="vocabulary_of"):
        shrink(ShrinkConfig(ShrinkIdentity(str(encoder), vocabulary_size=50), str(tmp_path / "out")))


def test_a_vocabulary_of_merges_is_refused():
    bare = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, pad_token="a", cls_token="a", sep_token="b")
    encoder = PairEncoder.__new__(PairEncoder)
    encoder.tokenizer, encoder.contract = tokenizer, FAMILIES["cross-encoder"]
    with pytest.raises(UserError, match="kind BPE"):
        kept_ids(encoder, ["ab"])


def test_the_stage_cuts_layers_and_vocabulary_and_is_skipped_when_done(encoder, tmp_path):
    collection = f"beir:{write_beir(tmp_path / 'collection', train=QRELS)}"
    identity = ShrinkIdentity(str(encoder), encoder_layers="first 1", vocabulary_of=collection)
    config = ShrinkConfig(identity, str(tmp_path / "out"))
    made = shrink(config)
    assert shrink(config)["skipped"]
    small = load_reranker(tmp_path / "out" / "model")
    assert len(small.module.model.bert.encoder.layer) == 1
    assert small.parameters_count == made["parameters"] < made["parameters_before"]
    big = load_reranker(encoder).encoder.tokenizer
    texts = [passage.contents for passage in open_collection(collection).passages_iter()]
    assert [small.encoder.tokenizer.tokenize(text) for text in texts] == [big.tokenize(text) for text in texts]
    assert STAGES["shrink"].load() == (ShrinkConfig, shrink)


def test_a_stage_with_nothing_to_cut_is_refused(encoder, tmp_path):
    with pytest.raises(UserError, match="nothing to cut"):
        shrink(ShrinkConfig(ShrinkIdentity(str(encoder)), str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()
