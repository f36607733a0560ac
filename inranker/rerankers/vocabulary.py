"""A small vocabulary in T5's layout, trained on the texts at hand.

No T5 vocabulary ships in a package, and 32,000 pieces would be most of a tiny model's weights. This one is a
SentencePiece unigram model (Kudo 2018, https://arxiv.org/abs/1804.10959) with T5's special ids (`<pad>` 0, `</s>` 1,
`<unk>` 2) and T5's normalisation, kept twice: `spiece.model` for SentencePiece and `tokenizer.json` for Hugging Face.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from inranker.errors import UserError

METASPACE = "▁"
T5_SENTINELS = 100
TEMPLATE_WORDS = ("true", "false", "Query:", "Document:", "Relevant:")
# SentencePiece drops longer sentences altogether (and says so only in its log), so texts are cut before it sees them.
SENTENCE_CHARACTERS = 4000
SENTENCE_BYTES = 8 * SENTENCE_CHARACTERS


def train_vocabulary(
    texts: Iterable[str], size: int, path: str | Path, words: Sequence[str] = TEMPLATE_WORDS
) -> dict[str, int]:
    """Train a unigram vocabulary and save it where `AutoTokenizer.from_pretrained(path)` finds it.

    The same texts in the same order give the same bytes on any number of cores: training runs on one thread, because
    SentencePiece adds up its counts per thread and rounds differently for another number of them.

    Args:
        texts: what the vocabulary should be good at; held in memory while training.
        size: number of pieces, special ones included. Texts with less variety than that give fewer.
        path: directory to write, made if absent.
        words: each becomes one piece when it follows a space. `true` and `false` are what a reranker answers with;
            the template's words save tokens in every pair.

    Returns:
        `{"size": pieces in the vocabulary}`.

    Raises:
        UserError: there is no text, or `size` is too small to hold every character of the texts.
    """
    model = _train_unigram(texts, size)
    _require_pieces(model, [METASPACE + word for word in words], size)
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    model_file = directory / "spiece.model"
    model_file.write_bytes(model.SerializeToString(deterministic=True))
    tokenizer = tokenizer_from(model_file, sentinels=0)
    tokenizer.save_pretrained(directory)
    _check_words(tokenizer, words)
    return {"size": len(tokenizer)}


def tokenizer_from(path: str | Path, sentinels: int = T5_SENTINELS) -> Any:
    """A Hugging Face fast tokenizer from a tokenizer directory, a Hub id or a bare SentencePiece `.model` file.

    Args:
        path: directory with `tokenizer.json` or `spiece.model`, a Hub id, or a file that ends in `.model`.
        sentinels: for a bare `.model` only, the `<extra_id_*>` tokens to add after its pieces, as T5 and PTT5 have.

    Raises:
        UserError: there is no tokenizer at the path.
    """
    if str(path).endswith(".model"):
        return _from_sentencepiece(Path(path), sentinels)
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(path))
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"no tokenizer at {path}: {reason}; name a directory with tokenizer.json or a SentencePiece .model file"
        ) from error


def _from_sentencepiece(path: Path, sentinels: int) -> Any:
    from transformers import T5Tokenizer

    if not path.is_file():
        raise UserError(f"no SentencePiece model at {path}: the file does not exist")
    model = _parse(path.read_bytes(), str(path))
    vocabulary = [(piece.piece, piece.score) for piece in model.pieces]
    if model.trainer_spec.model_type != model.trainer_spec.UNIGRAM or len(vocabulary) < 3:
        raise UserError(f"{path} is not a unigram SentencePiece model; T5 vocabularies are")
    pad, end, unknown = (name for name, _ in vocabulary[:3])
    # T5 numbers its sentinels backwards: the last id is <extra_id_0>.
    vocabulary += [(f"<extra_id_{number}>", 0.0) for number in reversed(range(sentinels))]
    return T5Tokenizer(
        vocab=vocabulary,
        pad_token=pad,
        eos_token=end,
        unk_token=unknown,
        extra_ids=sentinels,
        _spm_precompiled_charsmap=model.normalizer_spec.precompiled_charsmap or None,
    )


def _parse(data: bytes, name: str) -> Any:
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    try:
        sentencepiece.SentencePieceProcessor(model_proto=data)
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"{name} is not a SentencePiece model: {str(error).splitlines()[0]}") from error
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(data)
    return model


def _train_unigram(texts: Iterable[str], size: int) -> Any:
    import sentencepiece

    sentences = list(_sentences(texts))
    if not sentences:
        raise UserError("no text to train a vocabulary on: every text given is empty")
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=written,
            model_type="unigram",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            num_threads=1,
            max_sentence_length=SENTENCE_BYTES,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"cannot train a vocabulary of size {size} on {len(sentences)} texts ({reason}); "
            "give more text or another size"
        ) from error
    return _parse(written.getvalue(), "the trained vocabulary")


def _sentences(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        sentence = ""
        for word in text.replace("\0", " ").split():
            if len(sentence) + len(word) >= SENTENCE_CHARACTERS and sentence:
                yield sentence
                sentence = ""
            sentence = f"{sentence} {word[: SENTENCE_CHARACTERS - 1]}".strip()
        if sentence:
            yield sentence


def _require_pieces(model: Any, wanted: Sequence[str], size: int) -> None:
    """Give every wanted piece the best score there is, in place of the worst pieces.

    Scores are log probabilities, below 0, so two pieces or more never add up to more than the best single one: the
    wanted piece wins wherever it fits.
    """
    normal = [piece for piece in model.pieces if piece.type == piece.NORMAL]
    best = max(piece.score for piece in normal)
    by_name = {piece.piece: piece for piece in normal}
    missing = [name for name in wanted if name not in by_name]
    for name in wanted:
        if name in by_name:
            by_name[name].score = best
    # A single character is never given up: it is all that keeps a rare word from being <unk>.
    spare = [piece.piece for piece in normal if len(piece.piece) > 1 and piece.piece not in wanted]
    excess = max(0, len(model.pieces) + len(missing) - size)
    if excess > len(spare):
        raise UserError(f"a vocabulary of {size} pieces has no room for {', '.join(missing)}; ask for a larger one")
    given_up = set(spare[len(spare) - excess :])  # pieces come sorted by score, best first
    new_piece = type(model).SentencePiece
    kept = [new_piece.FromString(piece.SerializeToString()) for piece in model.pieces if piece.piece not in given_up]
    kept += [new_piece(piece=name, score=best) for name in missing]
    del model.pieces[:]
    model.pieces.extend(kept)
    model.trainer_spec.vocab_size = len(kept)


def _check_words(tokenizer: Any, words: Sequence[str]) -> None:
    for word in words:
        pieces = tokenizer.tokenize(f"a {word} a")
        if METASPACE + word not in pieces:
            raise UserError(
                f"{word!r} cannot be one piece of the vocabulary: it is read as {' '.join(pieces[1:-1])}; "
                "give words without spaces, in the form that NFKC normalisation leaves them"
            )
