"""Small real things that several tests need: a vocabulary, a T5, a set of pairs."""

import random
from pathlib import Path

import pyarrow as pa

from inranker.fingerprint import fingerprint, sha256_bytes
from inranker.labeling.rows import to_parquet
from inranker.manifest import Manifest, Shard, claim_output, write_manifest
from inranker.rerankers.create import T5Shape, create_t5
from inranker.rerankers.vocabulary import train_vocabulary
from inranker.storage import Store

WORDS = (
    "open close read write file stream socket path name value key list map set tuple string number token parse "
    "format encode decode return raise error warning thread lock queue event signal process pipe buffer cache index "
    "search match replace split join sort merge heap tree node graph edge walk visit copy move remove create update"
).split()
TINY = T5Shape(d_model=32, d_ff=64, d_kv=8, num_heads=4, num_layers=2, num_decoder_layers=1)


def sentence(generator: random.Random, words: int) -> str:
    """Random words of a small vocabulary."""
    return " ".join(generator.choices(WORDS, k=words))


def make_tokenizer(path: Path, size: int = 300) -> Path:
    """A small vocabulary with the answer tokens in it."""
    generator = random.Random(0)
    train_vocabulary((sentence(generator, 12) for _ in range(400)), size, path)
    return path


def make_t5(path: Path, tokenizer: Path, seed: int = 0, shape: T5Shape = TINY) -> Path:
    """A T5 with random weights."""
    create_t5(shape, str(tokenizer), seed, path)
    return path


def make_causal(path: Path, tokenizer: Path, seed: int = 0) -> Path:
    """A causal language model with random weights that writes words of the small vocabulary."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    words = AutoTokenizer.from_pretrained(tokenizer)
    shape = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048, pad_token_id=words.pad_token_id,
        eos_token_id=words.eos_token_id, bos_token_id=None, initializer_range=0.5,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(shape)
    with torch.no_grad():  # the end and other special tokens are not likely, so that most texts are more than nothing
        model.lm_head.weight[words.all_special_ids] = 0
    model.save_pretrained(path)
    words.save_pretrained(path)
    return path


def pair_rows(count: int, seed: int = 0) -> list[dict[str, object]]:
    """Pairs of random sentences, ten to a query, the first of each ten positive."""
    generator = random.Random(seed)
    rows = []
    for number in range(count):
        query, place = divmod(number, 10)
        rows.append(
            {
                "query_id": f"q{query}",
                "passage_id": f"p{number}",
                "query": sentence(random.Random(query), 4),
                "passage": sentence(generator, generator.randint(3, 40)),
                "kind": "positive" if place == 0 else "negative",
                "rank": None if place == 0 else place,
                "source": "test",
                "language": "en",
            }
        )
    return rows


PAIR_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("query_id", "passage_id", "query", "passage", "kind")]
    + [("rank", pa.int32()), ("source", pa.string()), ("language", pa.string())]
)


def make_pairs(path: Path, rows: list[dict[str, object]], shard_rows: int = 1000) -> Path:
    """A finished pairs directory."""
    store = Store(str(path))
    identity = {"rows": fingerprint(rows), "shard_rows": shard_rows}
    claim_output(store, "mine", identity)
    shards = []
    for start in range(0, len(rows), shard_rows):
        part = rows[start : start + shard_rows]
        data = to_parquet(pa.Table.from_pylist(part, PAIR_SCHEMA))
        name = f"pairs-{len(shards):05d}.parquet"
        store.write(name, data)
        shards.append(Shard(name, len(part), sha256_bytes(data)))
    write_manifest(store, Manifest("mine", fingerprint(identity), identity, shards=shards, counts={"pairs": len(rows)}))
    return path
