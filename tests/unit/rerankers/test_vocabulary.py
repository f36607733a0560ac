"""The small vocabulary: T5's layout, true and false as single pieces, the same bytes every time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from inranker.errors import UserError
from inranker.rerankers.vocabulary import tokenizer_from, train_vocabulary

TEXTS = [
    "Return a new array object with the given shape and fill value.",
    "Emit a record by writing it to the stream, followed by a newline.",
    "Parse an integer from a string; raise ValueError where it is malformed.",
    "Split the path into its head and tail, the tail being the last component.",
    "The lock is released when the block is left, even through an exception.",
    "Read at most size bytes from the socket and return them as an object.",
] * 4
PROMPT = "Query: read bytes Document: Read bytes from the stream. Relevant:"


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary")
    train_vocabulary(TEXTS, 200, path)
    return path


def bytes_of(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def test_layout_is_t5s(vocabulary: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(vocabulary)
    assert tokenizer.is_fast
    assert tokenizer.convert_ids_to_tokens([0, 1, 2]) == ["<pad>", "</s>", "<unk>"]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer("read").input_ids[-1] == 1
    assert len(tokenizer) <= 200


def test_template_and_answers_are_single_pieces(vocabulary: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(vocabulary)
    pieces = tokenizer.tokenize(PROMPT + " true false")
    assert pieces[-3:] == ["▁Relevant:", "▁true", "▁false"]
    assert pieces[0] == "▁Query:" and "▁Document:" in pieces
    assert tokenizer("true", add_special_tokens=False).input_ids == [tokenizer.convert_tokens_to_ids("▁true")]


def test_same_bytes_in_another_process_with_other_thread_settings(vocabulary: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from tests.unit.rerankers.test_vocabulary import TEXTS; "
        "from inranker.rerankers.vocabulary import train_vocabulary; train_vocabulary(TEXTS, 200, sys.argv[1])"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "3", "RAYON_NUM_THREADS": "3", "PYTHONHASHSEED": "7"}
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "again")], check=True, cwd=root, env=environment)
    assert bytes_of(tmp_path / "again") == bytes_of(vocabulary)


def test_sentencepiece_file_reads_like_the_tokenizer(vocabulary: Path) -> None:
    import sentencepiece

    bare = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary / "spiece.model"))
    tokenizer = tokenizer_from(vocabulary)
    for text in [*TEXTS, PROMPT, "  spaces \t around  "]:
        assert bare.encode(text) == tokenizer(text, add_special_tokens=False).input_ids


@settings(max_examples=30, deadline=None)
@given(text=st.text(alphabet=st.sampled_from(sorted(set("".join(TEXTS)) - {" "})), min_size=1, max_size=60))
def test_every_known_character_survives(vocabulary: Path, text: str) -> None:
    tokenizer = tokenizer_from(vocabulary)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.unk_token_id not in ids
    assert "".join(tokenizer.convert_ids_to_tokens(ids)).replace("▁", "") == text


def test_long_and_odd_texts_are_used(tmp_path: Path) -> None:
    texts = ["Ωμέγα " * 3000, "x" * 100_000, "zero\u200bwidth nul\0byte", ""]
    train_vocabulary(texts, 60, tmp_path)
    tokenizer = tokenizer_from(tmp_path)
    assert tokenizer.unk_token_id not in tokenizer("Ωμέγα x zero").input_ids


def test_bare_model_of_t5_equals_its_tokenizer_files(shared_dir: Path) -> None:
    files = tokenizer_from(shared_dir / "tokenizers" / "t5")
    bare = tokenizer_from(shared_dir / "tokenizers" / "t5" / "spiece.model")
    assert bare.get_vocab() == files.get_vocab()
    assert bare.convert_tokens_to_ids(["▁true", "▁false"]) == [1176, 6136]
    for text in [*TEXTS, PROMPT, "ﬁne ½ tab\there"]:
        assert bare(text).input_ids == files(text).input_ids


def test_bare_model_of_ptt5_has_its_pieces(shared_dir: Path) -> None:
    tokenizer = tokenizer_from(shared_dir / "tokenizers" / "ptt5" / "spm_32000_pt.model")
    assert tokenizer("não sim").input_ids == [47, 2593, 1]


@pytest.mark.parametrize(
    ("texts", "size", "words", "message"),
    [
        ([], 100, ("true",), "no text"),
        (["", "  "], 100, ("true",), "no text"),
        (TEXTS, 10, ("true",), "size 10"),
        (TEXTS, 200, ("two words",), "'two words' cannot be one piece"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, texts: list[str], size: int, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        train_vocabulary(texts, size, tmp_path, words)
    assert "\n" not in str(caught.value)


def test_no_tokenizer_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.model").write_bytes(b"\xff\xff not a model")
    for path in (tmp_path / "absent", tmp_path / "absent.model", tmp_path / "broken.model"):
        with pytest.raises(UserError, match=str(path)) as caught:
            tokenizer_from(path)
        assert "\n" not in str(caught.value)
