"""Loading what tokenising workers need, and no more."""

import shutil
import subprocess
import sys
from pathlib import Path

from transformers import AutoTokenizer

from inranker.rerankers.checkpoint import load_tokenizer

TEXTS = ["open the file", "Query: a b Document: c Relevant:", "naïve — ＡＢ\u200b\u3000x", ""]


def test_a_t5_encoder_is_loaded_without_torch(teacher: Path) -> None:
    """A tokenising worker that imported torch would cost 190 MB each and seconds at its start."""
    program = (
        "import sys; from inranker.rerankers import load_encoder; "
        f"load_encoder({str(teacher)!r}).encode(['a'], ['b']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_the_t5_tokenizer_is_the_one_that_transformers_would_choose(teacher: Path, tmp_path: Path) -> None:
    ours, theirs = load_tokenizer(teacher), AutoTokenizer.from_pretrained(teacher)
    assert type(ours) is type(theirs)
    assert ours.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()
    assert ours(TEXTS).input_ids == theirs(TEXTS).input_ids
    assert (ours.eos_token_id, ours.pad_token_id) == (theirs.eos_token_id, theirs.pad_token_id)
    # One that does not say its class is left to transformers.
    unnamed = tmp_path / "unnamed"
    shutil.copytree(teacher, unnamed)
    (unnamed / "tokenizer_config.json").unlink()
    chosen = AutoTokenizer.from_pretrained(unnamed)
    assert load_tokenizer(unnamed).backend_tokenizer.to_str() == chosen.backend_tokenizer.to_str()
