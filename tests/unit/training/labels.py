"""Labels without a teacher and a collection without sense, for what only needs some."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from inranker.fingerprint import fingerprint, sha256_bytes
from inranker.labeling.rows import LABEL_SCHEMA, to_parquet
from inranker.manifest import Manifest, Shard, claim_output, read_manifest, write_manifest
from inranker.storage import Store
from tests.builders import pair_rows


def make_labels(path: Path, pairs: Path, quarantined: int = 0, claimed: int | None = None, scale: float = 1.0) -> Path:
    """Labels of a pairs directory: the logits of row r are scale × (r, −r); the last `quarantined` rows have none."""
    manifest = read_manifest(str(pairs))
    store, shards, labelled = Store(str(path)), [], 0
    claim_output(store, "label", {"of": manifest.content_hash})
    for number, shard in enumerate(manifest.shards):
        left = shard.rows - (quarantined if number == len(manifest.shards) - 1 else 0)
        rows = np.arange(left, dtype=np.int32)
        texts = pq.read_table(pairs / shard.name).slice(0, left)
        table = pa.table(
            {
                "row": rows,
                "query_id": texts["query_id"],
                "passage_id": texts["passage_id"],
                "false_logit": (scale * (rows + labelled)).astype(np.float32),
                "true_logit": (-scale * (rows + labelled)).astype(np.float32),
                "n_tokens": rows,
                "truncated": np.zeros(left, bool),
            },
            schema=LABEL_SCHEMA,
        )
        data = to_parquet(table)
        name = f"data/{number:06d}-000000000-{left:09d}-x.parquet"
        store.write(name, data)
        shards.append(Shard(name, left, sha256_bytes(data)))
        labelled += left
    total = sum(shard.rows for shard in manifest.shards)
    counts = {"pairs": claimed or total, "labelled": labelled, "quarantined": quarantined}
    inputs = {"pairs": {"path": str(pairs), "content_hash": manifest.content_hash}}
    identity = {"of": manifest.content_hash}
    write_manifest(store, Manifest("label", fingerprint(identity), identity, inputs, shards, counts))
    return path


def make_collection(folder: Path) -> str:
    """A BEIR directory: forty passages, and twelve of them again as the queries that look for them."""
    folder.mkdir(exist_ok=True)
    passages = [{"_id": f"d{number}", "title": "", "text": row["passage"]} for number, row in enumerate(pair_rows(40))]
    queries = [{"_id": f"q{number}", "text": passages[3 * number]["text"]} for number in range(12)]
    for name, rows in (("corpus", passages), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels").mkdir()
    lines = [f"q{number}\td{3 * number}\t1\n" for number in range(12)]
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return f"beir:{folder}"
