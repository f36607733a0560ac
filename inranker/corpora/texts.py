"""The texts of some passages of a corpus, looked up in one streaming pass and kept on disk."""

from collections.abc import Iterable
from types import TracebackType

from inranker.corpora.base import Collection
from inranker.corpora.spilled import SpilledTexts


class PassageTexts:
    """Contents (title and text joined) of chosen passages, by id; a context manager that holds a temporary file.

    Only ids and offsets are in memory, so millions of passages may be chosen.

    Args:
        collection: where to look.
        passage_ids: which passages; ids that the corpus lacks are left out.
    """

    def __init__(self, collection: Collection, passage_ids: Iterable[str]) -> None:
        self.numbers: dict[str, int] = dict.fromkeys(passage_ids, -1)
        self.texts = SpilledTexts()
        for passage in collection.passages_iter():
            if passage.passage_id in self.numbers:
                self.numbers[passage.passage_id] = self.texts.add(passage.contents)
        self.texts.seal()

    def __contains__(self, passage_id: str) -> bool:
        return self.numbers.get(passage_id, -1) >= 0

    def __getitem__(self, passage_id: str) -> str:
        if (number := self.numbers[passage_id]) < 0:
            raise KeyError(passage_id)
        return self.texts[number]

    def __enter__(self) -> "PassageTexts":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.texts.close()
