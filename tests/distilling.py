"""A whole pipeline, small: a collection and a recipe with every stage."""

import json
import random
from pathlib import Path
from typing import Any

import yaml

from inranker.config import make_parser, parse_config
from inranker.distill import DistillConfig
from tests.builders import sentence

SHAPE = {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_heads": 4, "num_layers": 2, "num_decoder_layers": 1}


def write_collection(folder: Path) -> Path:
    """A BEIR directory of forty passages; a query is four words of its passage."""
    generator = random.Random(3)
    passages = {f"p{number}": sentence(generator, 20) for number in range(40)}
    corpus = [{"_id": name, "title": "", "text": text} for name, text in passages.items()]
    queries = [{"_id": f"q{name}", "text": " ".join(text.split()[3:7])} for name, text in passages.items()]
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for split, names in (("train", list(passages)[:30]), ("test", list(passages)[30:])):
        rows = "".join(f"q{name}\t{name}\t1\n" for name in names)
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    return folder


def recipe() -> dict[str, Any]:
    """Every stage, small."""
    create = {"tokenizer": "$output/vocabulary/tokenizer", "shape": SHAPE, "max_length": 64}
    quick = {"steps": 6, "batch_size": 8, "learning_rate": 1e-3}
    quiet = {"execution": {"threads": 1, "progress": False}}
    stages = {
        "vocabulary": ("vocabulary", {"identity": {"collection": "$collection", "size": 200}}),
        "teacher-start": ("create", {"identity": {**create, "seed": 1}}),
        "student-start": ("create", {"identity": {**create, "seed": 2}}),
        "pairs": ("mine", {"identity": {"collection": "$collection"}}),
        "teacher": (
            "train",
            {
                "identity": {"pairs": "$output/pairs", "start": "$output/teacher-start/model", "loss": "ce", **quick},
                **quiet,
            },
        ),
        "labels": (
            "label",
            {"identity": {"pairs": "$output/pairs", "teacher": "$output/teacher/student"}, **quiet},
        ),
        "student": (
            "train",
            {"identity": {"labels": "$output/labels", "start": "$output/student-start/model", **quick}, **quiet},
        ),
        "evaluation": (
            "evaluate",
            {
                "identity": {
                    "collection": "$collection",
                    "depth": 20,
                    "systems": [
                        "bm25",
                        "teacher=$output/teacher/student",
                        "student_before=$output/student-start/model",
                        "student=$output/student/student",
                    ],
                    "teacher": "teacher",
                }
            },
        ),
    }
    return {"stages": [{"name": name, "stage": stage, "config": config} for name, (stage, config) in stages.items()]}


def read_recipe(folder: Path, content: dict[str, object], *words: str) -> DistillConfig:
    """What a pipelines script makes of a recipe in a folder that holds a collection."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    collection = f"beir:{folder / 'collection'}"
    arguments = [str(path), "--output", str(folder / "out"), "--collection", collection, *words]
    return parse_config(DistillConfig, arguments, make_parser(DistillConfig, "distill", ""))[0]
