"""A small synthesis job that several tests run: a collection, a tiny language model, a config."""

import random
from pathlib import Path

import pyarrow.parquet as pq

from inranker.synthesis.config import SynthesizeConfig, SynthesizeExecution, SynthesizeIdentity
from inranker.synthesis.generators.base import Decoding
from inranker.synthesis.generators.transformers import TransformersIdentity
from tests.builders import make_causal, sentence
from tests.unit.beir_folder import write_beir

PASSAGES = 20  # of 25
UNIT_ROWS = 8


def small_collection(folder: Path, passages: int = 25) -> Path:
    """Passages of random words, some judged."""
    generator = random.Random(0)
    rows = [{"_id": f"p{number}", "text": sentence(generator, 12)} for number in range(passages)]
    queries = [{"_id": f"q{number}", "text": sentence(generator, 4)} for number in range(4)]
    judged = [(f"q{number}", f"p{number}", 1) for number in range(4)]
    return write_beir(folder / "small", rows, queries, train=judged)


def causal_model(folder: Path, tokenizer: Path) -> Path:
    """A language model with random weights."""
    return make_causal(folder / "model", tokenizer)


def synthesis_job(
    collection: Path, model: Path, output: Path | str, passages: int = PASSAGES, **execution: object
) -> SynthesizeConfig:
    """Two queries a passage, of two prompts, drawn at a temperature."""
    identity = SynthesizeIdentity(
        f"beir:{collection}",
        str(model),
        prompts=["vanilla", "promptagator"],
        passages=passages,
        queries_per_passage=2,
        examples=2,
        passage_words=20,
        decoding=Decoding(temperature=0.7, max_tokens=12),
        transformers=TransformersIdentity(dtype="float32"),
    )
    chosen = {"unit_rows": UNIT_ROWS, "threads": 1, "progress": False, "write_report": False, "max_quarantined": 1.0}
    return SynthesizeConfig(identity, str(output), SynthesizeExecution(**{**chosen, **execution}))


def queries_of(output: Path | str) -> list[dict[str, object]]:
    """The query set as rows; log-probabilities to six digits, since sums may come in another order."""
    rows = pq.read_table(Path(output) / "queries.parquet").to_pylist()
    return [{**row, "mean_log_prob": round(row["mean_log_prob"], 6)} for row in rows]
