"""BM25 in the Lucene variant (k1 0.9, b 0.4) by bm25s: no JVM, memory-mapped, and the same order on every machine.

bm25s precomputes what each term adds to each passage (https://arxiv.org/abs/2407.03618). The ranking is done here,
since its own selection leaves passages of equal score in no defined order: here they stay in corpus order, and a
passage that shares no term with the query is not retrieved at all.
"""

import json
import os
import shutil
import socket
import uuid
from array import array
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from inranker.errors import UserError
from inranker.fingerprint import fingerprint
from inranker.retrieval.analysis import Analyser
from inranker.types import Passage, Query, ScoredDoc

K1 = 0.9
B = 0.4
DESCRIPTION = "index.json"  # the last file of an index: what it was made from and how long the others are
BUILDING = ".building-"
FORMAT = 1


class Bm25Index:
    """A searchable BM25 index.

    Args:
        scorer: a bm25s.BM25 that holds the score of each (passage, term).
        id_bytes: the passage ids in corpus order, as UTF-8, one after the other (uint8).
        id_ends: where each of them ends (int64 [passages]).
        analyser: the one the passages went through.
    """

    def __init__(self, scorer: Any, id_bytes: np.ndarray, id_ends: np.ndarray, analyser: Analyser) -> None:
        self.scorer = scorer
        self.id_bytes = id_bytes
        self.id_ends = id_ends
        self.analyser = analyser

    def __len__(self) -> int:
        return len(self.id_ends)

    def passage_ids(self, rows: np.ndarray) -> list[str]:
        """The ids of the passages at some places of the corpus."""
        text = self.id_bytes.data  # slicing it is ten times as fast as slicing the array
        ends = self.id_ends[rows]
        starts = np.where(rows > 0, self.id_ends[rows - 1], 0)
        return [str(text[start:end], "utf-8") for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def search(self, queries: list[Query], depth: int, threads: int | None = None) -> dict[str, list[ScoredDoc]]:
        """The best passages of each query, best first, at most `depth`; equal scores in corpus order.

        Args:
            queries: what to search for; a query without a known term finds nothing.
            depth: how many passages to return.
            threads: how many queries to score at a time; by default one a core. NumPy lets go of the interpreter lock.
        """
        terms = [self.scorer.get_tokens_ids(self.analyser.terms(query.text)) for query in queries]
        with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            found = pool.map(lambda ids: self._best(ids, depth), terms)
            return {
                query.query_id: [
                    ScoredDoc(query.query_id, passage_id, score)
                    for passage_id, score in zip(self.passage_ids(rows), scores.tolist(), strict=True)
                ]
                for query, (rows, scores) in zip(queries, found, strict=True)
            }

    def _best(self, term_ids: list[int], depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores of the best passages."""
        if not term_ids or depth < 1:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        scores = self.scorer.get_scores_from_ids(term_ids)
        if depth < len(scores):
            bound = np.partition(scores, len(scores) - depth)[len(scores) - depth]
            rows = np.flatnonzero((scores >= bound) & (scores > 0))
        else:
            rows = np.flatnonzero(scores > 0)
        order = np.argsort(-scores[rows], kind="stable")[:depth]
        return rows[order], scores[rows[order]]

    def save(self, directory: Path) -> None:
        """Write the index; the description comes last, so that an index cut short is not taken for one."""
        self.scorer.save(directory, show_progress=False)
        np.save(directory / "id_bytes.npy", self.id_bytes)
        np.save(directory / "id_ends.npy", self.id_ends)
        sizes = {file.name: file.stat().st_size for file in sorted(directory.iterdir())}
        description = {"analyser": self.analyser.name, "passages": len(self), "files": sizes}
        (directory / DESCRIPTION).write_text(json.dumps(description, indent=1))


def build(passages: Iterable[Passage], analyser: Analyser) -> Bm25Index:
    """An index of passages, which are read once, one at a time: only their terms' numbers are kept.

    Raises:
        UserError: no passage has a term to index.
    """
    import bm25s

    tokens = _Tokens(passages, analyser)
    if not tokens.vocabulary:
        raise UserError("the passages hold no word to index; check the corpus and its language")
    scorer = bm25s.BM25(k1=K1, b=B, method="lucene", csc_backend="scipy", backend="numpy")
    numbers = list(tokens.vocabulary.values())
    scorer.scores = scorer.build_index_from_ids(numbers, tokens, show_progress=False)
    scorer.vocab_dict = tokens.vocabulary
    scorer.unique_token_ids_set = set(numbers)
    id_bytes = np.frombuffer(bytes(tokens.id_bytes), dtype=np.uint8)
    return Bm25Index(scorer, id_bytes, np.array(tokens.id_ends, dtype=np.int64), analyser)


def load(directory: Path, analyser: Analyser) -> Bm25Index:
    """A saved index, its arrays memory-mapped.

    Raises:
        UserError: a file is missing or has another length, or the index was made with another analyser.
    """
    import bm25s

    advice = "delete that directory to have it built anew"
    try:
        description = json.loads((directory / DESCRIPTION).read_text())
        sizes = {name: (directory / name).stat().st_size for name in description["files"]}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"index {directory} is damaged ({error}); {advice}") from error
    for name, size in description["files"].items():
        if sizes[name] != size:
            raise UserError(f"index {directory} is damaged ({name} has {sizes[name]} bytes, not {size}); {advice}")
    if description["analyser"] != analyser.name:
        raise UserError(
            f"index {directory} was made with analyser {description['analyser']}, not {analyser.name}; {advice}"
        )
    scorer = bm25s.BM25.load(directory, mmap=True)
    id_bytes, id_ends = (np.load(directory / f"{name}.npy", mmap_mode="r") for name in ("id_bytes", "id_ends"))
    return Bm25Index(scorer, id_bytes, id_ends, analyser)


def load_or_build(
    passages: Callable[[], Iterable[Passage]], corpus_hash: str, analyser: Analyser, cache: str | Path | None
) -> Bm25Index:
    """The index of a corpus from the cache directory, built and kept there first where it is not.

    A build goes into a directory of its own that takes its final name in one step when it is complete: one that was
    killed is never looked at, and of two builders the first to finish wins.

    Args:
        passages: makes an iterator over the corpus; called only when the index has to be built.
        corpus_hash: sha256 of those passages, part of the index's name in the cache.
        analyser: for passages and queries.
        cache: a local directory; None keeps the index in memory only.
    """
    if cache is None:
        return build(passages(), analyser)
    import bm25s

    key = fingerprint([corpus_hash, analyser.name, K1, B, FORMAT, bm25s.__version__])
    place = Path(cache).expanduser() / f"bm25-{key[:32]}"
    if not place.is_dir():
        _clear_abandoned_builds(place.parent)
        unfinished = place.parent / f"{BUILDING}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        unfinished.mkdir(parents=True)
        try:
            build(passages(), analyser).save(unfinished)
            _flush(unfinished)
            if not place.is_dir():
                _take_name(unfinished, place)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return load(place, analyser)


class _Tokens:
    """The corpus as bm25s wants it, a sequence of lists of term numbers, but kept as one flat int32 array."""

    def __init__(self, passages: Iterable[Passage], analyser: Analyser) -> None:
        self.vocabulary: dict[str, int] = {}
        self.flat = array("i")
        self.ends = array("q")
        self.id_bytes = bytearray()
        self.id_ends = array("q")
        for passage in passages:
            for term in analyser.terms(passage.contents):
                self.flat.append(self.vocabulary.setdefault(term, len(self.vocabulary)))
            self.ends.append(len(self.flat))
            self.id_bytes += passage.passage_id.encode()
            self.id_ends.append(len(self.id_bytes))

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[list[int]]:
        start = 0
        for end in self.ends:
            yield self.flat[start:end].tolist()
            start = end


def _take_name(unfinished: Path, place: Path) -> None:
    try:
        unfinished.rename(place)
    except OSError:
        if not place.is_dir():  # anything but another builder that finished meanwhile
            raise


def _flush(directory: Path) -> None:
    """Bring the files to disk before their name says they are complete."""
    for file in directory.iterdir():
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())


def _clear_abandoned_builds(cache: Path) -> None:
    """Remove what killed builders of this machine left; a live one's directory is known by its process."""
    prefix = f"{BUILDING}{socket.gethostname()}-"
    for directory in cache.glob(f"{prefix}*-*"):
        process = directory.name.removeprefix(prefix).split("-")[0]
        if process.isdigit() and not _alive(int(process)):
            shutil.rmtree(directory, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
