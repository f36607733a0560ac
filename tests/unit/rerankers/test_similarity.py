"""A sentence encoder as a reranker: the cosine of two texts that are each read by itself."""

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from inranker.errors import UserError
from inranker.export.onnx_writer import write_onnx
from inranker.ranking.windows import passage_room, windows
from inranker.report.card import snippet
from inranker.rerankers import load_reranker, scorer_identity
from inranker.rerankers.contract import Contract
from inranker.rerankers.prune import prune_vocabulary
from inranker.starts import EncoderConfig, EncoderIdentity, encoder
from inranker.training.config import TrainIdentity
from inranker.training.student import load_student
from inranker.types import Passage

SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}


@pytest.fixture
def start(word_piece, tmp_path):
    torch.manual_seed(5)
    model = BertModel(BertConfig(**SHAPE, vocab_size=len(word_piece), max_position_embeddings=96, pad_token_id=0))
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:  # wide word embeddings, so that texts differ
            torch.nn.init.normal_(parameter, std=2.0 if "word" in name else 0.3)
    model.save_pretrained(tmp_path / "plain")
    word_piece.save_pretrained(tmp_path / "plain")
    config = EncoderConfig(
        EncoderIdentity(str(tmp_path / "plain"), max_length=80, score="similarity"), str(tmp_path / "out")
    )
    assert not encoder(config)["skipped"]
    return tmp_path / "out" / "model"


def embed(path, texts):
    """Texts one by one, by Hugging Face alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    with torch.no_grad():
        means = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0) for text in texts]
    return torch.nn.functional.normalize(torch.stack(means), dim=1).numpy()


def test_scores_are_twenty_cosines_of_texts_read_alone(start, texts):
    expected = 20 * (embed(start, texts[0]) * embed(start, texts[1])).sum(axis=1)
    assert np.ptp(expected) > 1
    reranker = load_reranker(start)
    logits = reranker.logits(reranker.encoder.encode(*texts))
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], expected, atol=1e-3)
    np.testing.assert_allclose(reranker.score(*texts), expected, atol=1e-3)
    assert scorer_identity(start)["contract"]["architecture"] == "similarity"


def test_it_is_cut_trained_pruned_and_saved_like_any_encoder(start, texts, tmp_path):
    identity = TrainIdentity(start=str(start), labels="somewhere", encoder_layers="every 2", dropout=0.0)
    student = load_student(identity, False, torch.device("cpu"))
    encoded = student.encoder.encode(texts[0][:2], texts[1][:2])
    student.module(torch.from_numpy(encoded.take([1]).token_ids)[None].long()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in student.module.parameters())
    student.module.eval()
    logits = student.logits(student.encoder.encode(*texts))
    pruned = prune_vocabulary(student, [*texts[0], *texts[1]])
    pruned.save(tmp_path / "small")
    small = load_reranker(tmp_path / "small")
    assert small.parameters_count < load_reranker(start).parameters_count
    np.testing.assert_allclose(small.logits(small.encoder.encode(*texts)), logits, atol=1e-4)


def test_a_batch_of_training_reads_a_query_once(start, texts):
    identity = TrainIdentity(start=str(start), labels="somewhere", dropout=0.0)
    student = load_student(identity, False, torch.device("cpu"))
    queries, passages = [texts[0][0]] * 3 + [texts[0][-1]], texts[1][:4]
    encoded = student.encoder.encode(queries, passages)
    ids = [torch.from_numpy(encoded.take([row]).token_ids).long() for row in range(4)]
    ids_BL = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    mask_BL = torch.arange(ids_BL.shape[1]) < torch.tensor([len(own) for own in ids])[:, None]
    read, embed = [], student.module.embed
    student.module.embed = lambda *text: (read.append(len(text[0])), embed(*text))[1]
    together = student.module(ids_BL, mask_BL)
    assert read == [2, 4] and texts[0][0] != texts[0][-1]
    alone = torch.cat([student.module(own[None]) for own in ids])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    together[:, 1].sum().backward()
    gradient = {name: parameter.grad.clone() for name, parameter in student.module.named_parameters()}
    student.module.zero_grad()
    alone[:, 1].sum().backward()
    for name, parameter in student.module.named_parameters():
        torch.testing.assert_close(parameter.grad, gradient[name], atol=1e-3, rtol=1e-3)


def test_the_cards_code_gives_the_same_scores(start, texts):
    reranker = load_reranker(start)
    code = snippet(reranker.contract.__dict__, {})
    known = {"place": start, "query": texts[0][0], "passages": texts[1][:5]}
    exec(code, known)
    scores = reranker.score([texts[0][0]] * 5, texts[1][:5])
    np.testing.assert_allclose(known["scores"].numpy(), scores, atol=1e-3)


def test_there_is_no_onnx_form(start, tmp_path):
    with pytest.raises(UserError, match="no ONNX form"):
        write_onnx(load_reranker(start).module, tmp_path, "float32", 0)


def test_either_text_may_be_as_long_as_the_encoder_reads(start, texts):
    query, passage = " ".join(texts[0]), " ".join(texts[1])
    reranker = load_reranker(start)
    length = reranker.contract.max_length
    encoded = reranker.encoder.encode([query, texts[0][0]], [texts[1][0], passage])
    assert encoded.truncated.tolist() == [True, True]
    for row, (own, other) in enumerate([(query, texts[1][0]), (texts[0][0], passage)]):
        whole = reranker.encoder.tokenizer(own)["input_ids"], reranker.encoder.tokenizer(other)["input_ids"]
        left, right = ([*ids[: length - 1], ids[-1]] if len(ids) > length else ids for ids in whole)
        assert encoded.take([row]).token_ids.tolist() == left + right[1:]


def test_a_long_passage_is_read_once_whatever_the_queries_lengths(start, texts):
    queries, passage = ["wing", "wing drag", "wing drag flow"], " ".join(texts[1])
    for truncation, expected in (("each", 1), ("passage", 3)):
        reranker = load_reranker(start, truncation=truncation)
        read = count_texts(reranker)
        reranker.score(queries, [passage] * 3)
        assert sum(read) == 3 + expected


def test_windows_of_a_sentence_encoder_are_as_long_as_it_reads(start, texts):
    encoder = load_reranker(start).encoder
    query, passage = " ".join(texts[0]), " ".join(texts[1])
    pieces = list(windows(encoder, Passage("p", passage), passage_room(encoder, query)))
    rooms = [len(encoder.tokenizer(piece)["input_ids"]) for piece in pieces]
    assert len(pieces) > 1 and encoder.contract.max_length // 2 < max(rooms) <= encoder.contract.max_length


def test_it_must_have_positions_for_its_texts(start, tmp_path):
    identity = EncoderIdentity(str(start.parents[1] / "plain"), score="similarity", max_length=97)
    with pytest.raises(UserError, match="has 96 positions"):
        encoder(EncoderConfig(identity, str(tmp_path / "longer")))


def test_only_sentence_encoders_cut_each_text(start, tmp_path):
    with pytest.raises(UserError, match="each is for score similarity"):
        encoder(EncoderConfig(EncoderIdentity(str(start.parents[1] / "plain"), truncation="each"), str(tmp_path)))
    with pytest.raises(UserError, match="'each' is for sentence encoders"):
        Contract("monot5", truncation="each")
    identity = EncoderIdentity(str(start.parents[1] / "plain"), max_length=80, score="similarity", truncation="passage")
    encoder(EncoderConfig(identity, str(tmp_path / "passage")))
    assert load_reranker(tmp_path / "passage" / "model").contract.truncation == "passage"


def count_texts(reranker):
    """A list that grows by the number of texts of every batch that the encoder reads."""
    read = []
    embed = reranker.module.embed

    def counting(ids_BL, mask_BL):
        read.append(len(ids_BL))
        return embed(ids_BL, mask_BL)

    reranker._embeddings.embed = counting
    return read


def test_a_text_is_read_once_however_many_pairs_it_is_in(start, texts):
    queries, passages = sorted(set(texts[0]))[:3], sorted(set(texts[1]))[:4]
    pairs = [(query, passage) for query in queries for passage in passages]
    alone = np.concatenate([load_reranker(start).score([query], [passage]) for query, passage in pairs])
    reranker = load_reranker(start)
    read = count_texts(reranker)
    np.testing.assert_allclose(reranker.score(*zip(*pairs, strict=True)), alone, atol=1e-3)
    assert sum(read) == len(queries) + len(passages)
    np.testing.assert_allclose(reranker.score(*zip(*pairs[::-1], strict=True)), alone[::-1], atol=1e-3)
    assert sum(read) == len(queries) + len(passages)


def test_vectors_of_other_weights_are_not_used(start, texts):
    reranker = load_reranker(start)
    before = reranker.score(*texts)
    with torch.no_grad():
        for parameter in reranker.module.parameters():
            parameter.mul_(1.1)
    reranker.save(start.parent / "later")
    after = reranker.score(*texts)
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_allclose(after, load_reranker(start.parent / "later").score(*texts), atol=1e-3)


def test_vectors_used_longest_ago_are_forgotten(start, texts):
    query, *_ = texts[0]
    moon, loaf, dough = texts[1][5:8]
    reranker = load_reranker(start)
    reranker._embeddings.remembered = 3
    read = count_texts(reranker)
    first = reranker.score([query] * 2, [moon, loaf])
    reranker.score([query], [dough])  # forgets `moon`
    assert sum(read) == 4
    np.testing.assert_allclose(reranker.score([query] * 2, [moon, loaf]), first, atol=1e-3)
    assert sum(read) == 5
