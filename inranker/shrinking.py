"""A smaller start out of a bigger reranker, as a stage: some of its layers, and the vocabulary of one collection."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inranker.corpora import Collection, open_collection
from inranker.errors import UserError
from inranker.rerankers import scorer_identity
from inranker.starts import MODEL, folder_stage
from inranker.training.config import TrainIdentity


@dataclass(frozen=True)
class ShrinkIdentity:
    """What the smaller model depends on; start and collection enter the fingerprint by their content."""

    start: str
    """The bigger reranker: a directory, a URL or a hub id; often the teacher itself."""
    encoder_layers: str | None = None
    """Layers of its encoder to keep: `first 3`, `last 3`, `every 2` or `only 0, 2, 5`; null: all."""
    decoder_layers: str | None = None
    """Layers of its decoder to keep (T5); null: all."""
    vocabulary_of: str | None = None
    """Collection whose texts say which pieces of the vocabulary stay (WordPiece or Unigram): beir:PATH,
    ir_datasets:ID or python-docs; null keeps all."""
    vocabulary_size: int | None = None
    """Pieces to keep at most, those that these texts use most often; null: all that they use."""
    split: str | None = "train"
    """Split whose queries count among those texts; null: passages alone."""


@dataclass(frozen=True)
class ShrinkConfig:
    """Cut a reranker down to some of its layers and of its vocabulary; the result is written to OUTPUT/model."""

    identity: ShrinkIdentity
    """What the result depends on."""
    output: str
    """Directory or URL to write to."""


def shrink(config: ShrinkConfig) -> dict[str, Any]:
    """Cut a reranker down, untrained: what a student starts from where no small pre-trained model exists.

    Returns:
        With the stage's usual entries, `parameters` and `vocabulary` of the smaller model and `parameters_before`.

    Raises:
        UserError: start or collection cannot be read, it cannot be cut this way, or nothing is asked for.
    """
    chosen = config.identity
    if chosen.encoder_layers is None and chosen.decoder_layers is None and chosen.vocabulary_of is None:
        raise UserError("nothing to cut: give identity.encoder_layers, decoder_layers or vocabulary_of")
    if chosen.vocabulary_size is not None and chosen.vocabulary_of is None:
        raise UserError("vocabulary_size: name the collection whose texts say which pieces stay: vocabulary_of")
    collection = open_collection(chosen.vocabulary_of) if chosen.vocabulary_of else None
    start = {name: value for name, value in scorer_identity(chosen.start).items() if name != "dtype"}
    identity: dict[str, Any] = {
        "start": start,
        "encoder_layers": chosen.encoder_layers,
        "decoder_layers": chosen.decoder_layers,
    }
    if collection is not None:
        identity |= {"collection": collection.content_hash(chosen.split), "split": chosen.split}
    if chosen.vocabulary_size is not None:
        identity["vocabulary_size"] = chosen.vocabulary_size

    def make(folder: Path) -> dict[str, Any]:
        from inranker.rerankers import load_reranker
        from inranker.rerankers.prune import prune_vocabulary
        from inranker.training.student import open_start

        cut = TrainIdentity(
            start=chosen.start, encoder_layers=chosen.encoder_layers, decoder_layers=chosen.decoder_layers
        )
        before = load_reranker(chosen.start).parameters_count
        smaller = open_start(cut)
        if collection is not None:
            smaller = prune_vocabulary(smaller, _texts(collection, chosen.split), chosen.vocabulary_size)
        smaller.save(folder)
        return {
            "parameters": smaller.parameters_count,
            "parameters_before": before,
            "vocabulary": len(smaller.encoder.tokenizer),
        }

    return folder_stage("shrink", config.output, MODEL, identity, make)


def _texts(collection: Collection, split: str | None) -> Iterator[str]:
    for passage in collection.passages_iter():
        yield passage.contents
    if split is not None:
        for query in collection.queries_iter(split):
            yield query.text
