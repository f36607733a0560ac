"""The passage ids of an index by their place in the corpus, eight bytes and the id's own each, memory-mapped."""

from array import array
from pathlib import Path

import numpy as np

FILES = ("id_bytes.npy", "id_ends.npy")


class PassageIds:
    """Ids in corpus order.

    Args:
        id_bytes: the ids as UTF-8, one after the other (uint8).
        id_ends: where each of them ends (int64 [passages]).
    """

    def __init__(self, id_bytes: np.ndarray, id_ends: np.ndarray) -> None:
        self.id_bytes = id_bytes
        self.id_ends = id_ends

    def __len__(self) -> int:
        return len(self.id_ends)

    def at(self, rows: np.ndarray) -> list[str]:
        """The ids of the passages at some places of the corpus."""
        text = self.id_bytes.data  # slicing it is ten times as fast as slicing the array
        ends = self.id_ends[rows]
        starts = np.where(rows > 0, self.id_ends[rows - 1], 0)
        return [str(text[start:end], "utf-8") for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def save(self, directory: Path) -> None:
        """Write both arrays."""
        for name, values in zip(FILES, (self.id_bytes, self.id_ends), strict=True):
            np.save(directory / name, values)


class PassageIdsBuilder:
    """Collects the ids while a corpus is read."""

    def __init__(self) -> None:
        self.id_bytes = bytearray()
        self.id_ends = array("q")

    def append(self, passage_id: str) -> None:
        """The id of the next passage."""
        self.id_bytes += passage_id.encode()
        self.id_ends.append(len(self.id_bytes))

    def finish(self) -> PassageIds:
        """All of them."""
        return PassageIds(np.frombuffer(bytes(self.id_bytes), dtype=np.uint8), np.array(self.id_ends, dtype=np.int64))


def load_passage_ids(directory: Path) -> PassageIds:
    """What `PassageIds.save` wrote, memory-mapped."""
    return PassageIds(*(np.load(directory / name, mmap_mode="r") for name in FILES))
