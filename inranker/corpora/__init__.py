"""Collections behind one interface; a new reader is one file and one line in READERS."""

from collections.abc import Callable

from inranker.corpora.base import Collection
from inranker.corpora.beir import BeirCollection
from inranker.corpora.beir16 import open_beir16
from inranker.corpora.files import folder_reader, open_files
from inranker.corpora.ir_datasets_reader import IrDatasetsCollection
from inranker.corpora.python_docs import PythonDocsCollection
from inranker.corpora.quati import open_quati
from inranker.corpora.records import KINDS
from inranker.corpora.synthetic import SyntheticCollection
from inranker.corpora.windows import TextsCollection
from inranker.errors import UserError

__all__ = ["READERS", "Collection", "open_collection"]

READERS: dict[str, Callable[[str, str | None], Collection]] = {
    "beir": BeirCollection,
    "beir16": open_beir16,
    "ir_datasets": IrDatasetsCollection,
    "python-docs": PythonDocsCollection,
    "quati": open_quati,
    "files": open_files,
    "texts": TextsCollection,
    "synthetic": SyntheticCollection,
    **{kind: folder_reader(kind) for kind in KINDS},
}


def open_collection(name: str, language: str | None = None, fix_text: bool = False) -> Collection:
    """The collection of a name, such as `beir:PATH`, `ir_datasets:ID`, `files:DESCRIPTION.yaml` or `python-docs`.

    Args:
        name: reader, colon, and what the reader takes (a path, an id).
        language: ISO 639-1 code; overrides what the collection says of itself.
        fix_text: mend its texts with ftfy.

    Raises:
        UserError: unknown reader, or the reader cannot open it.
    """
    reader, _, argument = name.partition(":")
    if reader not in READERS:
        raise UserError(
            f"collection {name!r} names no known reader; write one of {', '.join(READERS)}, as in beir:PATH"
        )
    collection = READERS[reader](argument, language)
    if not fix_text:
        return collection
    from inranker.corpora.mended import Mended

    return Mended(collection)
