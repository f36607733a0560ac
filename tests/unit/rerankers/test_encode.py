"""Token ids: the older procedures reproduced, halves joined only where that changes nothing, truncation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from inranker.errors import UserError
from inranker.rerankers.contract import FAMILIES, Contract
from inranker.rerankers.encode import EncodedPairs, PairEncoder
from inranker.rerankers.joining import JoinRule

PROMPT = "Query: {} Document: {} Relevant:"
MONOT5 = {"family": "monot5", "false_token": "▁false", "true_token": "▁true"}


def rows_of(encoded: EncodedPairs) -> list[list[int]]:
    return [encoded.take([row]).token_ids.tolist() for row in range(len(encoded))]


def encode(tokenizer, pairs, **fields):
    encoder = PairEncoder(tokenizer, Contract(**{**MONOT5, **fields}))
    return encoder.encode([query for query, _ in pairs], [passage for _, passage in pairs])


def original_inference(tokenizer, query, passage, max_length=512):
    text = PROMPT.format(query, passage)
    return tokenizer([text], padding=True, truncation="longest_first", max_length=max_length).input_ids[0]


def original_training(tokenizer, query, passage, max_length=512):
    left = tokenizer.encode(f"Query: {query}", add_special_tokens=False)
    right = tokenizer.encode(f"Document: {passage}", add_special_tokens=False)
    room = max_length - 10 - len(left)
    ids = left + right[:room] + tokenizer.encode(" Relevant:", add_special_tokens=False)
    return ids[:max_length]


def pygaggle(tokenizer, query, passage, max_length=512):
    """The EOS is written into the text; the slow tokenizer of that time added none after one that was there."""
    ids = tokenizer.encode(PROMPT.format(query, passage) + " </s>", add_special_tokens=False)
    if len(ids) + 1 > max_length:
        ids = ids[: max_length - 1]
    return ids if ids[-1] == tokenizer.eos_token_id else [*ids, tokenizer.eos_token_id]


LEGACY = {
    "legacy-inference": original_inference,
    "legacy-training": original_training,
    "legacy-pygaggle": pygaggle,
}


@pytest.mark.parametrize("mode", LEGACY)
@pytest.mark.parametrize("max_length", [512, 128])
def test_legacy_token_ids_on_a_thousand_real_pairs(t5_tokenizer, real_pairs, mode, max_length):
    assert len(real_pairs) == 1000
    encoded = encode(t5_tokenizer, real_pairs, truncation=mode, max_length=max_length)
    expected = [LEGACY[mode](t5_tokenizer, *pair, max_length) for pair in real_pairs]
    assert rows_of(encoded) == expected
    assert encoded.truncated.any()
    assert not encoded.truncated.all()


@pytest.mark.parametrize("mode", LEGACY)
def test_legacy_token_ids_of_a_query_that_fills_the_input(t5_tokenizer, real_pairs, mode):
    """In training the bound is negative here and cuts the passage's end."""
    long_query = " ".join(passage for _, passage in real_pairs[500:504])
    pairs = [(long_query, passage) for _, passage in real_pairs[500:520]]
    encoded = encode(t5_tokenizer, pairs, truncation=mode)
    assert rows_of(encoded) == [LEGACY[mode](t5_tokenizer, *pair) for pair in pairs]
    assert encoded.truncated.all()


def test_negative_bound_keeps_the_start_of_the_passage(t5_tokenizer):
    query, passage = "lift " * 600, "wing drag flow " * 300
    assert 512 - 10 - len(t5_tokenizer.encode(f"Query: {query}", add_special_tokens=False)) < 0
    encoded = encode(t5_tokenizer, [(query, passage)], truncation="legacy-training", max_length=2048)
    assert rows_of(encoded)[0] == original_training(t5_tokenizer, query, passage, 2048)
    short = encode(t5_tokenizer, [(query, passage)], truncation="legacy-training")
    assert rows_of(short)[0] == original_training(t5_tokenizer, query, passage)


def test_untruncated_inputs_are_the_plain_prompt(t5_tokenizer, real_pairs):
    encoded = encode(t5_tokenizer, real_pairs, max_length=4096)
    assert rows_of(encoded) == [t5_tokenizer(PROMPT.format(*pair)).input_ids for pair in real_pairs]
    assert not encoded.truncated.any()


def test_default_truncation_keeps_query_and_suffix(t5_tokenizer, real_pairs):
    encoded = encode(t5_tokenizer, real_pairs, max_length=100)
    suffix = t5_tokenizer("Relevant:").input_ids
    assert encoded.lengths.max() == 100
    for (query, passage), ids, cut in zip(real_pairs, rows_of(encoded), encoded.truncated, strict=True):
        left = t5_tokenizer(f"Query: {query} Document:", add_special_tokens=False).input_ids
        whole = t5_tokenizer(PROMPT.format(query, passage)).input_ids
        assert cut == (len(whole) > 100)
        assert ids[-len(suffix) :] == suffix
        assert ids[: len(left)] == left
        assert ids[: len(ids) - len(suffix)] == whole[: len(ids) - len(suffix)]


def test_a_query_longer_than_the_input_keeps_its_head(t5_tokenizer):
    query, passage = " ".join(f"word{i}" for i in range(600)), "the passage that is judged"
    encoded = encode(t5_tokenizer, [(query, passage), ("short", passage)])
    ids = rows_of(encoded)[0]
    text = t5_tokenizer.decode(ids)
    assert encoded.truncated.tolist() == [True, False]
    assert len(ids) == 512
    assert text.startswith("Query: word0 word1 word2")
    assert "Document: the passage that is judged Relevant:" in text


UNEASY = st.text(
    st.one_of(st.characters(exclude_categories=("Cs",)), st.sampled_from(" \t\n\u00a0\u3000▁\u0301\u200d<>/s")),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(query=UNEASY, passage=UNEASY, mode=st.sampled_from(["passage", *LEGACY]))
def test_joined_ids_are_those_of_the_whole_text(t5_tokenizer, query, passage, mode):
    encoded = encode(t5_tokenizer, [(query, passage)], truncation=mode)
    expected = LEGACY.get(mode, original_inference)(t5_tokenizer, query, passage)
    if mode == "legacy-pygaggle" and query + passage != (query + passage).replace("</s>", ""):
        return
    assert rows_of(encoded)[0] == expected


def test_joining_is_used_for_ordinary_text_and_only_there(t5_tokenizer):
    rule = JoinRule(t5_tokenizer.backend_tokenizer)
    assert rule.possible
    assert all(rule.admits(text) for text in ("a", "what is lift?", "é", "(1)", "日本", "“quoted”"))
    assert not any(rule.admits(text) for text in ("", " a", "a ", "\u0301a", "a▁", "<pad> a", "a </s>", "\u200db"))


def test_a_tokenizer_that_merges_across_spaces_is_never_joined(byte_level):
    assert not JoinRule(byte_level.backend_tokenizer).possible
    contract = Contract("custom", architecture="causal", template="q: {query} d: {document} r:", eos=False)
    encoded = PairEncoder(byte_level, contract).encode(["wing lift"], ["drag flow"])
    whole = byte_level("q: wing lift d: drag flow r:", add_special_tokens=False).input_ids
    assert rows_of(encoded)[0] == whole
    cut = PairEncoder(byte_level, Contract(**{**contract.__dict__, "max_length": len(whole) - 1}))
    shorter = cut.encode(["wing lift"], ["drag flow"])
    assert shorter.truncated.tolist() == [True]
    assert byte_level.decode(rows_of(shorter)[0]).startswith("q: wing lift d: drag")
    assert byte_level.decode(rows_of(shorter)[0]).endswith(" r:")


def test_marked_places_are_tokenised_apart(byte_level):
    contract = Contract(
        "custom", architecture="causal", template="q {query}{|}\n{|}d {document}", eos=False, prefix="<p>", suffix="s"
    )
    ids = rows_of(PairEncoder(byte_level, contract).encode(["wing?"], ["drag"]))[0]
    pieces = ["<p>", "q wing?", "\n", "d drag", "s"]
    assert ids == [token for piece in pieces for token in byte_level(piece, add_special_tokens=False).input_ids]


def test_slots_inside_texts_are_text(byte_level):
    contract = Contract("custom", architecture="causal", template="a {query} b {document} c", eos=False)
    ids = rows_of(PairEncoder(byte_level, contract).encode(["{document} {query}"], ["{query}"]))[0]
    assert byte_level.decode(ids) == "a {document} {query} b {query} c"


def test_segments_get_the_tokenizer_s_special_tokens(word_piece):
    encoder = PairEncoder(word_piece, FAMILIES["cross-encoder"])
    encoded = encoder.encode(["wing lift", "wing"], ["drag flow heat", ""])
    expected = word_piece(["wing lift", "wing"], ["drag flow heat", ""]).input_ids
    assert rows_of(encoded) == expected
    short = PairEncoder(word_piece, Contract("x", architecture="encoder", template="", eos=False, max_length=8))
    ids = rows_of(short.encode(["wing lift"], ["drag flow heat shock"]))[0]
    limit = {"truncation": "only_second", "max_length": 8}
    assert ids == word_piece("wing lift", "drag flow heat shock", **limit).input_ids


def test_pairs_travel_as_flat_arrays(t5_tokenizer):
    encoded = encode(t5_tokenizer, [("a", "b c d"), ("e f", "g"), ("h", "i")])
    assert (encoded.token_ids.dtype, encoded.offsets.dtype) == (np.int32, np.int64)
    taken = encoded.take([2, 0])
    assert rows_of(taken) == [rows_of(encoded)[2], rows_of(encoded)[0]]
    assert len(encode(t5_tokenizer, [])) == 0


def test_unequal_numbers_of_texts_are_refused(t5_tokenizer):
    with pytest.raises(ValueError, match="1 queries for 2 passages"):
        PairEncoder(t5_tokenizer, Contract(**MONOT5)).encode(["a"], ["b", "c"])


def test_a_missing_eos_is_named(byte_level):
    byte_level.eos_token = None
    with pytest.raises(UserError, match="has no EOS"):
        PairEncoder(byte_level, Contract("custom", false_token="a", true_token="b"))


def test_small_vocabularies_join_too(checkpoint, texts):
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert JoinRule(tokenizer.backend_tokenizer).possible
    pairs = list(zip(*texts, strict=True))
    encoded = encode(tokenizer, pairs)
    assert rows_of(encoded) == [tokenizer(PROMPT.format(*pair)).input_ids for pair in pairs]
