"""A vocabulary cut down to what a collection uses, and with it the embeddings, which are most of a small model.

all-MiniLM-L6-v2 keeps 11.7 of its 22.7 million weights in 30,522 embeddings; a collection on one subject meets a
quarter of them. The texts that the pieces are taken from are tokenised as before, piece by piece:

* WordPiece takes the longest piece that fits, from left to right. The pieces it took are kept, and none is new.
* Unigram takes the segmentation with the best sum of scores. Its pieces are kept, and no segmentation is new.

Single characters stay too, so that a word the texts lack becomes letters rather than unknown. Merges of BPE build on
each other and cannot be left out this way.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from ..errors import UserError
from .checkpoint import load_tokenizer
from .contract import PAIR_READERS, Contract, token_ids
from .encode import PairEncoder
from .encoder import CrossEncoder
from .reranker import Reranker
from .similarity import SimilarityEncoder
from .t5 import OneStepT5

TEXTS_AT_ONCE = 1024
CONTINUATION = "##"  # WordPiece's mark of a piece inside a word
METASPACE = "▁"  # SentencePiece's mark of a piece that follows a space


def prune_vocabulary(reranker: Reranker, texts: Iterable[str], size: int | None = None) -> Reranker:
    """A reranker with the pieces that texts use, single characters, special tokens and answers, and no other pieces.

    Pairs made of the texts get the logits that they got before, unless `size` leaves out pieces that they use. The
    given reranker's weights become those of the new one and it is of no more use.

    Args:
        reranker: an encoder (WordPiece or Unigram vocabulary) or a T5 (Unigram).
        texts: what the model will read: queries and passages, in any order.
        size: pieces to keep at most, those that the texts use most often; words lose their rare pieces to shorter ones.

    Raises:
        UserError: the vocabulary is of another kind, such as BPE, the model is a causal one, or `size` has no room for
            the pieces that must stay.
    """
    old = reranker.encoder
    kept = kept_ids(old, texts, size)
    encoder = PairEncoder(pruned_tokenizer(old.tokenizer, kept), old.contract)
    module = reranker.module
    if isinstance(module, OneStepT5):
        _prune_embeddings(module.t5, kept)
        module = OneStepT5(module.t5, *token_ids(encoder.contract, encoder.tokenizer))
    elif isinstance(module, CrossEncoder):
        _prune_embeddings(module.model, kept)
        separator = encoder.tokenizer.sep_token_id
        if isinstance(module, SimilarityEncoder):
            module = SimilarityEncoder(module.model, separator, encoder.tokenizer.cls_token_id)
        else:
            module = CrossEncoder(module.model, None if module.separator_id is None else separator)
    else:
        raise UserError("the vocabulary of a causal model is not pruned; that of a T5 or an encoder is")
    return Reranker(module.eval(), encoder, str(reranker.device), reranker.dtype)


def kept_ids(encoder: PairEncoder, texts: Iterable[str], size: int | None = None) -> list[int]:
    """Vocabulary ids that stay, ascending; `size` at most where it is given.

    Raises:
        UserError: the vocabulary is neither WordPiece nor Unigram, or `size` is too small.
    """
    backend = encoder.tokenizer.backend_tokenizer
    model = json.loads(backend.to_str())["model"]
    kind = model["type"]
    if kind not in ("WordPiece", "Unigram"):
        raise UserError(f"a vocabulary of kind {kind} cannot be pruned; WordPiece and Unigram ones can")
    vocabulary: dict[str, int] = encoder.tokenizer.get_vocab()
    mark = CONTINUATION if kind == "WordPiece" else METASPACE
    kept = {index for piece, index in vocabulary.items() if len(piece.removeprefix(mark)) <= 1}
    kept |= set(encoder.tokenizer.all_special_ids) | set(encoder.tokenizer.added_tokens_decoder)
    kept |= _contract_ids(encoder.contract, encoder.tokenizer)
    if kind == "Unigram":  # what an unknown character costs is reckoned from the worst score there is
        kept.add(min(range(len(model["vocab"])), key=lambda index: model["vocab"][index][1]))
    backend.no_truncation()
    backend.no_padding()
    used: Counter[int] = Counter()
    for some in _slices(texts):
        for encoding in backend.encode_batch_fast(some, add_special_tokens=False):
            used.update(encoding.ids)
    rest = sorted(used.keys() - kept, key=lambda index: (-used[index], index))
    if size is None:
        return sorted(kept.union(rest))
    if size < len(kept):
        raise UserError(f"vocabulary size {size}: special tokens and single characters alone are {len(kept)}")
    return sorted(kept.union(rest[: size - len(kept)]))


def pruned_tokenizer(tokenizer: Any, kept: list[int]) -> Any:
    """The tokenizer with these ids alone, numbered anew in their old order."""
    new = {old: number for number, old in enumerate(kept)}
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        file = Path(folder, "tokenizer.json")
        content = json.loads(file.read_text(encoding="utf-8"))
        content["model"] = _pruned_model(content["model"], new)
        content["added_tokens"] = [
            {**token, "id": new[token["id"]]} for token in content["added_tokens"] if token["id"] in new
        ]
        _renumber_post_processor(content.get("post_processor") or {}, new)
        file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        _renumber_config(Path(folder, "tokenizer_config.json"), new)
        return load_tokenizer(Path(folder))


def _contract_ids(contract: Contract, tokenizer: Any) -> set[int]:
    """Ids of the answers and of the words around query and passage, which every pair has."""
    if contract.architecture in PAIR_READERS:
        return set()
    words = contract.template.replace("{query}", " ").replace("{document}", " ")
    return {*token_ids(contract, tokenizer), *tokenizer(words, add_special_tokens=False)["input_ids"]}


def _pruned_model(model: dict[str, Any], new: dict[int, int]) -> dict[str, Any]:
    if model["type"] == "WordPiece":
        return {**model, "vocab": {piece: new[index] for piece, index in model["vocab"].items() if index in new}}
    vocabulary = [entry for index, entry in enumerate(model["vocab"]) if index in new]
    return {**model, "vocab": vocabulary, "unk_id": new[model["unk_id"]]}


def _renumber_post_processor(post_processor: dict[str, Any], new: dict[int, int]) -> None:
    """What puts special tokens around a text, in place; there are three spellings of it."""
    for part in post_processor.get("processors", []):
        _renumber_post_processor(part, new)
    for name in {"sep", "cls"} & post_processor.keys():  # BERT's and RoBERTa's: [token, id]
        post_processor[name] = [post_processor[name][0], new[post_processor[name][1]]]
    for special in (post_processor.get("special_tokens") or {}).values():
        special["ids"] = [new[index] for index in special["ids"]]


def _renumber_config(file: Path, new: dict[int, int]) -> None:
    """Tokens that tokenizer_config.json names by number."""
    config = json.loads(file.read_text(encoding="utf-8"))
    if "added_tokens_decoder" in config:
        tokens = config["added_tokens_decoder"].items()
        config["added_tokens_decoder"] = {str(new[int(index)]): token for index, token in tokens if int(index) in new}
        file.write_text(json.dumps(config, ensure_ascii=False, indent=2), encoding="utf-8")


def _prune_embeddings(model: Any, kept: list[int]) -> None:
    """Rows of the input embeddings and, where there is one, of the head; and the ids that the config names."""
    rows = torch.tensor(kept)
    table = model.get_input_embeddings()
    new = {old: number for number, old in enumerate(kept)}
    padding = None if table.padding_idx is None else new[table.padding_idx]
    pruned = nn.Embedding(len(kept), table.embedding_dim, padding, dtype=table.weight.dtype)
    with torch.no_grad():
        pruned.weight.copy_(table.weight[rows])
    head = model.get_output_embeddings()
    model.set_input_embeddings(pruned)
    if head is not None:
        _prune_head(head, table, pruned, rows)
    model.config.vocab_size = len(kept)
    for config in (model.config, getattr(model, "generation_config", None)):
        for name in [name for name in vars(config or object) if name.endswith("_token_id")]:
            if isinstance(old := getattr(config, name), int):
                setattr(config, name, new[old])


def _prune_head(head: Any, table: Any, pruned: nn.Embedding, rows: torch.Tensor) -> None:
    tied = head.weight.data_ptr() == table.weight.data_ptr()
    head.weight = pruned.weight if tied else nn.Parameter(head.weight.detach()[rows].clone())
    head.out_features = len(rows)


def _slices(texts: Iterable[str]) -> Iterator[list[str]]:
    waiting = iter(texts)
    while some := list(islice(waiting, TEXTS_AT_ONCE)):
        yield some
