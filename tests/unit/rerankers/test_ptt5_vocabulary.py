"""PTT5's contract with its real vocabulary: ▁não and ▁sim are single pieces there, ▁false and ▁true are none."""

import pytest

from inranker.errors import UserError
from inranker.rerankers.contract import FAMILIES, token_ids


@pytest.fixture(scope="module")
def vocabulary(shared_dir):
    sentencepiece = pytest.importorskip("sentencepiece")
    file = shared_dir / "tokenizers" / "ptt5" / "spm_32000_pt.model"
    if not file.exists():
        pytest.skip(f"PTT5's vocabulary is not at {file}")
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(file))

    class Vocabulary:
        unk_token_id = pieces.unk_id()

        def get_vocab(self) -> dict[str, int]:
            return {pieces.id_to_piece(number): number for number in range(pieces.get_piece_size())}

    return Vocabulary()


def test_ptt5_answers_with_its_own_pieces(vocabulary):
    assert token_ids(FAMILIES["ptt5"], vocabulary) == (47, 2593)


def test_an_english_contract_is_refused(vocabulary):
    with pytest.raises(UserError, match="'▁false' of family 'monot5' is not a single entry"):
        token_ids(FAMILIES["monot5"], vocabulary)
