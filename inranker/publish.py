"""Publishing a student: its checkpoint, checked, with a model card, to a folder or to the Hugging Face hub.

The token is the hub client's own business (`hf auth login`, or HF_TOKEN in the environment); it is no field here.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from inranker.errors import UserError
from inranker.manifest import MANIFEST, Manifest, read_manifest, verify_shards
from inranker.report.card import CARD, card
from inranker.rerankers.checkpoint import load_tokenizer, scorer_identity
from inranker.rerankers.contract import CONTRACT_FILE, PAIR_READERS, load_contract, token_ids
from inranker.storage import Store

# What a checkpoint is made of; whatever else lies in its folder stays at home.
PARTS = ("config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json", CONTRACT_FILE, CARD)
TOKENIZER_PARTS = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
VOCABULARY_PARTS = ("spiece.model", "sentencepiece.bpe.model", "vocab.txt", "vocab.json", "merges.txt")
MESSAGE = "Upload a reranker"


@dataclass(frozen=True)
class PublishConfig:
    """Put a student where others can load it."""

    model: str
    """Checkpoint directory, such as out/student/student."""
    repo: str | None = None
    """Where on the hub, as organisation/name; null writes the folder alone."""
    output: str | None = None
    """Local folder that gets exactly what is published; null keeps none."""
    private: bool = True
    """Whether a repository that is made now is private; one that exists stays as it is."""
    licence: str | None = None
    """Licence identifier for the card, such as apache-2.0; that of the data and the start weights bind you."""
    evaluation: list[str] = field(default_factory=list)
    """Summaries that `evaluate --json` wrote; their figures of `system` go on the card and into its metadata."""
    system: str = "student"
    """Name of this model in those summaries."""
    message: str = MESSAGE
    """Commit message on the hub."""


def publish(config: PublishConfig) -> dict[str, Any]:
    """Check the checkpoint, write its card, and put both where the config says.

    Returns:
        `files` (name -> bytes), `output`, `repo` and `url` of the commit.

    Raises:
        UserError: nowhere to publish to; a checkpoint that does not load, holds pickled weights or differs from its
            job's manifest; a summary without the system; a folder that is not empty; a hub that refuses.
    """
    if config.repo is None and config.output is None:
        raise UserError("nowhere to publish to: name a repo on the hub, an output folder, or both")
    if config.repo is not None and (config.repo.count("/") != 1 or not all(config.repo.split("/"))):
        raise UserError(f"repo {config.repo!r} is not organisation/name")
    source = Path(config.model)
    _require_checkpoint(source)
    text = finished_card(config, source)
    with _folder(config.output) as folder:
        for file in parts_of(source):
            shutil.copyfile(file, folder / file.name)
        (folder / CARD).write_text(text, encoding="utf-8")
        files = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
        url = push_to_hub(folder, config.repo, config.private, config.message) if config.repo else None
    return {"stage": "publish", "files": files, "output": config.output, "repo": config.repo, "url": url}


def push_to_hub(folder: str | Path, repo: str, private: bool = True, message: str = MESSAGE) -> str:
    """Upload a folder as one commit of a model repository, which is made where it is missing; the commit's URL.

    Args:
        folder: what is uploaded, all of it.
        repo: organisation/name, on the hub or on the endpoint that HF_ENDPOINT names.

    Raises:
        UserError: the hub cannot be reached or refuses (no token, no right to write).
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message)
    except HfHubHTTPError as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{repo}: the hub refused ({reason}); log in with `hf auth login` or set HF_TOKEN to a token that may write"
        ) from error
    except Exception as error:
        # The hub client passes on whatever its own HTTP library of the day raises: it is not there.
        raise UserError(f"{repo}: the hub cannot be reached ({error}); try again, or publish to a folder") from error
    return str(commit.commit_url)


def parts_of(source: Path) -> list[Path]:
    """The files of a checkpoint directory that are published."""
    patterns = (*PARTS, *TOKENIZER_PARTS, *VOCABULARY_PARTS)
    return sorted({file for pattern in patterns for file in source.glob(pattern) if file.is_file()})


def finished_card(config: PublishConfig, source: Path) -> str:
    """The card that training left, or a new one, with licence and figures in text and metadata."""
    from huggingface_hub import ModelCard

    own = source / CARD
    written = own.read_text(encoding="utf-8") if own.exists() else _new_card(source)
    found = ModelCard(written)
    data: Any = found.data
    if config.licence:
        data.license = config.licence
    if config.evaluation:
        summaries = [_summary(path, config.system) for path in config.evaluation]
        data.model_name = (config.repo or str(source.resolve())).rpartition("/")[2]
        data.eval_results = [result for summary in summaries for result in _results(summary, config.system)]
        found.text = f"{found.text.rstrip()}\n\n{_figures(summaries, config.system)}"
    return f"---\n{data.to_yaml()}\n---\n{found.text}"


def _new_card(source: Path) -> str:
    """A card of what the checkpoint says of itself: a model that this project did not train has no manifest."""
    manifest = _manifest(source)
    identity: dict[str, Any] = manifest.identity if manifest else {"start": {**scorer_identity(source)}}
    figures = {"parameters": _parameters(source), **(manifest.figures if manifest else {})}
    name = f"{source.resolve().name}, an InRanker reranker"
    return card(name, asdict(load_contract(source)), identity, manifest.inputs if manifest else {}, figures)


def _manifest(source: Path) -> Manifest | None:
    """The manifest of the job that wrote the checkpoint into its output."""
    parent = source.resolve().parent
    return read_manifest(str(parent)) if (parent / MANIFEST).exists() else None


def _parameters(source: Path) -> int:
    from safetensors import safe_open

    counts = 0
    for file in source.glob("*.safetensors"):
        with safe_open(file, framework="np") as weights:
            for name in weights.keys():  # noqa: SIM118 (the handle is no mapping)
                size = 1
                for length in weights.get_slice(name).get_shape():
                    size *= length
                counts += size
    return counts


def _require_checkpoint(source: Path) -> None:
    if not (source / "config.json").exists():
        raise UserError(f"{source}: no config.json in it; name a checkpoint directory, such as out/student/student")
    if pickled := [file.name for pattern in ("*.bin", "*.pt", "*.pkl") for file in source.glob(pattern)]:
        raise UserError(f"{source}: {pickled[0]} is pickled and may run code where it is loaded; save safetensors")
    if not list(source.glob("*.safetensors")):
        raise UserError(f"{source}: no weights (*.safetensors) in it")
    if not (source / CONTRACT_FILE).exists():
        raise UserError(f"{source}: no {CONTRACT_FILE} in it, so nobody could load it; save it with Reranker.save")
    contract, tokenizer = load_contract(source), load_tokenizer(source)
    if contract.architecture not in PAIR_READERS:
        token_ids(contract, tokenizer)  # without its files a T5 tokenizer opens empty
    manifest = _manifest(source)
    if manifest is not None and any(shard.name.startswith(f"{source.resolve().name}/") for shard in manifest.shards):
        verify_shards(Store(str(source.resolve().parent)), manifest)


def _summary(path: str, system: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"evaluation {path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"evaluation {path}: not JSON ({error}); give what evaluate --json wrote") from error
    if not isinstance(found, dict) or system not in found.get("systems", {}):
        named = ", ".join(found.get("systems", {})) if isinstance(found, dict) else ""
        raise UserError(f"evaluation {path}: no system {system!r} in it ({named or 'none'}); name one as `system`")
    return found


def _results(summary: Mapping[str, Any], system: str) -> Iterator[Any]:
    from huggingface_hub import EvalResult

    for measure, value in summary["systems"][system].items():
        yield EvalResult(
            task_type="text-ranking",
            dataset_type=summary["collection"],
            dataset_name=summary["collection"],
            dataset_split=summary["split"],
            metric_type=measure,
            metric_value=round(float(value), 4),
        )


def _figures(summaries: list[Mapping[str, Any]], system: str) -> str:
    measures = list(dict.fromkeys(name for summary in summaries for name in summary["systems"][system]))
    rows = [
        [f"{s['collection']} ({s['split']})", str(s["depth"])]
        + [f"{s['systems'][system][name]:.4f}" if name in s["systems"][system] else "–" for name in measures]
        for s in summaries
    ]
    lines = [["collection", "re-ranked", *measures], ["---"] * (2 + len(measures)), *rows]
    return "## Evaluation\n\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


@contextmanager
def _folder(output: str | None) -> Iterator[Path]:
    """The folder to fill: the one asked for, which must be new or empty, or one that is gone afterwards."""
    if output is None:
        with tempfile.TemporaryDirectory(prefix="inranker-") as folder:
            yield Path(folder)
        return
    path = Path(output)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"output {output} is there and not empty; name another folder, or remove it")
    path.mkdir(parents=True, exist_ok=True)
    yield path
