"""What a reranker reads and how its answer is read: template, tokens, truncation, score convention.

A contract travels with every checkpoint as `reranker.json`. A checkpoint without one is looked up by name in
`FAMILIES`; a name that is not there is an error, because a wrong pair of tokens gives plausible nonsense
(both mapped to `<unk>`, every pair scores 0.5).
"""

import json
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError
from .calibration import Calibration, from_json

CONTRACT_FILE = "reranker.json"
ENGLISH = "Query: {query} Document: {document} Relevant:"
PORTUGUESE = "Pergunta: {query} Documento: {document} Relevante:"

Architecture = Literal["t5", "encoder", "similarity", "causal"]
# Those that read a pair of segments and have no answer tokens.
PAIR_READERS = ("encoder", "similarity")
Truncation = Literal["passage", "each", "legacy-inference", "legacy-training", "legacy-pygaggle"]
Score = Literal["margin", "true"]


def _check(contract: "Contract") -> None:
    choices = {
        "architecture": ("t5", "encoder", "similarity", "causal"),
        "truncation": ("passage", "each", "legacy-inference", "legacy-training", "legacy-pygaggle"),
        "score": ("margin", "true"),
    }
    for field, allowed in choices.items():
        if getattr(contract, field) not in allowed:
            raise UserError(f"{field} {getattr(contract, field)!r} is not one of {', '.join(allowed)}")
    if contract.architecture not in PAIR_READERS:
        for slot in ("{query}", "{document}"):
            if contract.template.count(slot) != 1:
                raise UserError(f"template {contract.template!r} must hold {slot} once")
        if contract.template.index("{query}") > contract.template.index("{document}"):
            raise UserError(f"template {contract.template!r} must hold {{query}} before {{document}}")
    if contract.truncation.startswith("legacy-") and contract.architecture != "t5":
        raise UserError(f"truncation {contract.truncation!r} is for T5 rerankers only; use 'passage'")
    if contract.truncation == "each" and contract.architecture != "similarity":
        raise UserError("truncation 'each' is for sentence encoders, which read the two texts apart; use 'passage'")
    if contract.max_length < 8:
        raise UserError(f"max_length {contract.max_length} leaves no room for a query and a passage; use 8 or more")


@dataclass(frozen=True)
class Contract:
    """How (query, passage) becomes token ids and how two logits become a score."""

    family: str
    """Row of the family table it came from, or a name of your own."""
    architecture: Architecture = "t5"
    """`t5`: first decoder step; `encoder`: sequence classification; `similarity`: cosine of a sentence encoder;
    `causal`: last position of a decoder."""
    template: str = ENGLISH
    """Text around `{query}` and `{document}`; `{|}` marks a place where the text is cut before it is tokenised.
    Unused by encoders, which read a pair of segments."""
    false_token: str = ""
    """Vocabulary entry (as stored, e.g. `▁false`) whose logit says not relevant."""
    true_token: str = ""
    """Vocabulary entry whose logit says relevant."""
    eos: bool = True
    """Whether the input ends with the end-of-sequence token."""
    max_length: int = 512
    """Longest input in tokens, special tokens included; with truncation `each`, the longest text's."""
    truncation: Truncation = "passage"
    """`passage` cuts the passage and keeps query and suffix; `each` cuts query and passage to `max_length` each, for
    sentence encoders; the `legacy-` modes copy older procedures."""
    score: Score = "margin"
    """What ranks: `margin` = true − false, `true` = the true logit alone."""
    prefix: str = ""
    """Chat text before the template, tokenised by itself (causal models)."""
    suffix: str = ""
    """Chat text after the template, tokenised by itself and never cut (causal models)."""
    calibration: Calibration | None = None
    """How a score is shown as a probability; it never changes logits, scores or their order."""

    def __post_init__(self) -> None:
        _check(self)


QWEN_PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
QWEN_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
QWEN_TEMPLATE = (
    "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n"
    "<Query>: {query}\n<Document>: {document}"
)
MXBAI_PREFIX = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n"
)
MXBAI_SUFFIX = (
    "\nYou are a search relevance expert who evaluates how well documents match search queries. For each "
    "query-document pair, carefully analyze the semantic relationship between them, then provide your binary "
    "relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:<|im_end|>\n<|im_start|>assistant\n"
)

FAMILIES: dict[str, Contract] = {
    "monot5": Contract("monot5", false_token="▁false", true_token="▁true"),
    "mt5": Contract("mt5", false_token="▁no", true_token="▁yes"),
    "mt5-xl": Contract("mt5-xl", false_token="▁", true_token="▁true"),
    "ptt5": Contract("ptt5", false_token="▁não", true_token="▁sim"),
    "monoptt5": Contract("monoptt5", template=PORTUGUESE, false_token="▁Não", true_token="▁Sim"),
    "qwen3-reranker": Contract(
        "qwen3-reranker",
        architecture="causal",
        template=QWEN_TEMPLATE,
        false_token="no",
        true_token="yes",
        eos=False,
        max_length=8192,
        prefix=QWEN_PREFIX,
        suffix=QWEN_SUFFIX,
    ),
    "mxbai-rerank-v2": Contract(
        "mxbai-rerank-v2",
        architecture="causal",
        template="query: {query}{|}\n{|}document: {document}",
        false_token="0",
        true_token="1",
        eos=False,
        max_length=8192,
        prefix=MXBAI_PREFIX,
        suffix=MXBAI_SUFFIX,
    ),
    "cross-encoder": Contract("cross-encoder", architecture="encoder", template="", eos=False),
    "similarity": Contract("similarity", architecture="similarity", template="", eos=False, truncation="each"),
}

# Order matters: `monoptt5` contains `ptt5`, `mt5-13b` contains `mt5`.
FAMILY_OF_NAME: tuple[tuple[str, str], ...] = (
    (r"monoptt5", "monoptt5"),
    (r"ptt5", "ptt5"),
    (r"mt5[-_](3b|13b|xl|xxl)", "mt5-xl"),
    (r"mt5.*(mmarco|msmarco)", "mt5"),
    (r"monot5|inranker", "monot5"),
    (r"qwen3-reranker", "qwen3-reranker"),
    (r"mxbai-rerank-\w+-v2", "mxbai-rerank-v2"),
)


def load_contract(path: str | Path, **overrides: Any) -> Contract:
    """The contract of the checkpoint directory `path`, with `overrides` of its fields applied.

    Order: `reranker.json`; the row named by `family=`; a sequence-classification config; the family whose name
    the path (or the config's `_name_or_path`) contains; tokens given by hand.

    Raises:
        UserError: the family is unknown and the tokens are not named, or `reranker.json` is damaged.
    """
    path = Path(path)
    given = {name: value for name, value in overrides.items() if value is not None}
    unknown = sorted(set(given) - {field.name for field in fields(Contract)})
    if unknown:
        raise UserError(f"a reranker's contract has no field {unknown[0]!r}; it has {_names()}")
    file = path / CONTRACT_FILE
    if file.exists():
        return replace(_read(file), **given)
    config = _config(path)
    family = given.get("family") or _family_of(path, config)
    if family in FAMILIES:
        return replace(FAMILIES[family], **given)
    if given.get("false_token") and given.get("true_token"):
        return Contract(**{"family": "custom", "architecture": _architecture(config), **given})
    raise UserError(
        f"{path}: no {CONTRACT_FILE} and no known reranker family in its name ({', '.join(sorted(FAMILIES))}); "
        "say which vocabulary entries mean not relevant and relevant, e.g. false_token='▁false' "
        f"true_token='▁true' (and template=…), or put them into {file}"
    )


def save_contract(path: str | Path, contract: Contract) -> None:
    """Write `reranker.json` into the checkpoint directory `path`."""
    text = json.dumps(asdict(contract), indent=2, ensure_ascii=False)
    (Path(path) / CONTRACT_FILE).write_text(text + "\n", encoding="utf-8")


def token_ids(contract: Contract, tokenizer: Any) -> tuple[int, int]:
    """Vocabulary ids of the contract's (false, true) tokens.

    Raises:
        UserError: one of them is no single entry of this tokenizer's vocabulary, or both are the same.
    """
    vocabulary = tokenizer.get_vocab()
    ids = []
    for field in ("false_token", "true_token"):
        token = getattr(contract, field)
        index = vocabulary.get(token)
        if index is None or index == tokenizer.unk_token_id:
            raise UserError(
                f"{field} {token!r} of family {contract.family!r} is not a single entry of this tokenizer's "
                f"vocabulary ({len(vocabulary)} entries); name one that is"
            )
        ids.append(int(index))
    if ids[0] == ids[1]:
        raise UserError(f"false_token and true_token of family {contract.family!r} are the same: {ids[0]}")
    return ids[0], ids[1]


def _read(file: Path) -> Contract:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return Contract(**{**values, "calibration": from_json(values.get("calibration"))})
    except (ValueError, TypeError) as error:
        raise UserError(f"{file}: not a reranker contract ({error}); it needs the fields {_names()}") from error


def _names() -> str:
    return ", ".join(field.name for field in fields(Contract))


def _config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def _family_of(path: Path, config: dict[str, Any]) -> str:
    if any(name.endswith("ForSequenceClassification") for name in config.get("architectures") or ()):
        return "cross-encoder"
    # A hub snapshot lives in models--org--name/snapshots/<commit>, so the whole path is searched, its end first.
    for name in (*reversed(path.absolute().parts), str(config.get("_name_or_path", ""))):
        for pattern, family in FAMILY_OF_NAME:
            if re.search(pattern, name.lower()):
                return family
    return ""


def _architecture(config: dict[str, Any]) -> Architecture:
    if config.get("is_encoder_decoder") or str(config.get("model_type", "")).endswith("t5"):
        return "t5"
    return "causal"
