"""The texts of some passages of a corpus, looked up in one streaming pass and kept on disk."""

import mmap
import tempfile
from collections.abc import Iterable
from types import TracebackType

from inranker.corpora.base import Collection


class PassageTexts:
    """Contents (title and text joined) of chosen passages, by id; a context manager that holds a temporary file.

    Only ids and offsets are in memory, so millions of passages may be chosen.

    Args:
        collection: where to look.
        passage_ids: which passages; ids that the corpus lacks are left out.
    """

    def __init__(self, collection: Collection, passage_ids: Iterable[str]) -> None:
        self.places: dict[str, tuple[int, int]] = dict.fromkeys(passage_ids, (-1, -1))
        self.file = tempfile.TemporaryFile(prefix="inranker-texts-")  # noqa: SIM115 — closed by __exit__
        end = 0
        for passage in collection.passages_iter():
            if passage.passage_id in self.places:
                contents = passage.contents.encode()
                self.file.write(contents)
                self.places[passage.passage_id] = (end, end + len(contents))
                end += len(contents)
        self.file.flush()
        self.map = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ) if end else None

    def __contains__(self, passage_id: str) -> bool:
        return self.places.get(passage_id, (-1, -1))[0] >= 0

    def __getitem__(self, passage_id: str) -> str:
        start, end = self.places[passage_id]
        if self.map is None or start < 0:
            raise KeyError(passage_id)
        return self.map[start:end].decode()

    def __enter__(self) -> "PassageTexts":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.map is not None:
            self.map.close()
        self.file.close()
