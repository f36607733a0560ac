"""Texts by number that wait on disk, for when there may be millions of them."""

import mmap
import tempfile
from array import array


class SpilledTexts:
    """Texts in the order they were added, in a temporary file; only their ends are in memory (8 bytes a text).

    Add all of them, `seal`, then read; `close` when done.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="inranker-texts-")  # noqa: SIM115 — closed by `close`
        self._ends = array("q", [0])
        self._map: mmap.mmap | None = None

    def add(self, text: str) -> int:
        """Keep a text; its number, from 0."""
        data = text.encode(errors="surrogatepass")
        self._file.write(data)
        self._ends.append(self._ends[-1] + len(data))
        return len(self._ends) - 2

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return self._ends[-1]

    def seal(self) -> None:
        """Make what was added readable; nothing can be added any more."""
        self._file.flush()
        if self._ends[-1]:  # an empty file cannot be mapped
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)

    def __getitem__(self, number: int) -> str:
        data = self._map[self._ends[number] : self._ends[number + 1]] if self._map is not None else b""
        return data.decode(errors="surrogatepass")

    def close(self) -> None:
        """Let go of the file."""
        if self._map is not None:
            self._map.close()
        self._file.close()
