"""A cross-encoder's start: a pre-trained encoder with a fresh head of one logit, to be fine-tuned.

A sentence encoder such as all-MiniLM has read far more text than there are judged queries; what it lacks is to see
query and passage together and to say how well they fit, which is what training on pairs adds (Nogueira and Cho 2019,
https://arxiv.org/abs/1901.04085).
"""

from pathlib import Path
from typing import Any

from ..errors import UserError
from .checkpoint import config_for, load_tokenizer, local_path
from .contract import Contract, save_contract


def create_cross_encoder(source: str | Path, seed: int, path: str | Path, max_length: int = 512) -> dict[str, int]:
    """Save a cross-encoder of one output over a pre-trained encoder; the same seed, the same bytes.

    Args:
        source: directory, hub id or `package:NAME` of a Hugging Face encoder (BERT, RoBERTa, …), head or no head.
        seed: of the head's random weights; the process's own random state is left as it was.
        path: directory to write, made if absent.
        max_length: tokens of a pair that the reranker reads; its reranker.json says so.

    Returns:
        `{"parameters": weights, "layers": encoder layers}`.

    Raises:
        UserError: there is no encoder, it is none, or it has fewer positions than max_length.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    directory = local_path(source)
    config = config_for(directory, source, max_length)
    with torch.random.fork_rng(devices=[]), _Quiet():
        torch.manual_seed(seed)
        try:
            model: Any = AutoModelForSequenceClassification.from_pretrained(
                directory, num_labels=1, dtype=torch.float32, ignore_mismatched_sizes=True
            )
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{source} gives no cross-encoder ({reason}); name an encoder such as BERT") from error
    if config.is_encoder_decoder:
        raise UserError(f"{source} is an encoder with a decoder; use it as a T5 student, or name an encoder")
    target = Path(path)
    target.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(target)
    load_tokenizer(directory).save_pretrained(target)
    contract = Contract("cross-encoder", architecture="encoder", template="", eos=False, max_length=max_length)
    save_contract(target, contract)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "layers": int(config.num_hidden_layers),
    }


class _Quiet:
    """Without the library's report that the head is new, which is what it is meant to be."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self.level = logging.get_verbosity()
        logging.set_verbosity_error()

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging

        logging.set_verbosity(self.level)
