"""Quati (Bueno et al. 2024, https://arxiv.org/abs/2404.06976): Brazilian Portuguese web passages, as released.

A copy of the dataset's files (https://huggingface.co/datasets/unicamp-dl/quati) is a directory with quati_1M.tsv or
quati_10M.tsv, topics/quati_test_topics.tsv and qrels/quati_1M_qrels.txt or qrels/quati_10M_qrels.txt. Only the passages
that the authors' systems retrieved are judged, so look at Judged@10 beside nDCG@10.
"""

from pathlib import Path

from inranker.corpora.files import Description, FilesCollection, Source
from inranker.corpora.lines import either
from inranker.errors import UserError

SIZES = ("1M", "10M")
LICENCE = "CC BY 4.0; the passages are of ClueWeb22, for research"


def open_quati(name: str, language: str | None = None) -> FilesCollection:
    """Quati in a directory, `quati:DIR`, or `quati:DIR:10M` where both sizes are there.

    Raises:
        UserError: a file is missing, or both sizes are there and none is named.
    """
    folder, _, size = name.rpartition(":")
    folder, size = (folder, size) if size in SIZES else (name, "")
    directory = Path(folder).expanduser()
    there = [size for size in SIZES if either(directory / f"quati_{size}.tsv").is_file()]
    if not there:
        raise UserError(
            f"{directory}: there is no quati_1M.tsv or quati_10M.tsv; name the directory of a copy of Quati"
        )
    if not size and len(there) > 1:
        raise UserError(f"{directory}: both sizes are there; write quati:{folder}:1M or quati:{folder}:10M")
    size = size or there[0]
    passages, queries, qrels = (
        either(directory / path)
        for path in (f"quati_{size}.tsv", "topics/quati_test_topics.tsv", f"qrels/quati_{size}_qrels.txt")
    )
    for path in (passages, queries, qrels):
        if not path.is_file():
            raise UserError(f"{path}: there is no such file, and Quati needs it; fetch it from the dataset's page")
    named = frozenset(("id", "text"))
    return FilesCollection(
        Description(
            f"quati/{size}",
            Source(passages, {"id": "passage_id", "text": "passage", "title": "title"}, named),
            Source(queries, {"id": "query_id", "text": "query"}, named),
            {"test": Source(qrels, {}, frozenset())},
            language="pt",
            licence=LICENCE,
        ),
        language,
    )
