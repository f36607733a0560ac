"""The model card of a student: the README.md that travels with its weights, in the form the Hugging Face hub reads."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from inranker.manifest import links
from inranker.report.page import number
from inranker.storage import Store

CARD = "README.md"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
RECIPE = (
    "batch_size learning_rate warmup_steps schedule weight_decay clip dropout precision negatives_per_positive seed"
).split()
PAPER = "https://arxiv.org/abs/2401.06910"

UPPER_BOUND = (
    "Some of these queries are those that students are evaluated on (`trains_on_test: true`): figures on them are an "
    "upper bound, not a measurement of unseen queries.\n"
)

T5 = """import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(place)
model = AutoModelForSeq2SeqLM.from_pretrained(place).eval()
template = {template!r}
texts = [template.format(query=query, document=passage) for passage in passages]
inputs = tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens={eos})
start = torch.full((len(texts), 1), model.config.decoder_start_token_id)
with torch.no_grad():
    logits = model(**inputs, decoder_input_ids=start).logits[:, 0, [{false_id}, {true_id}]]  # {false}, {true}
scores = {score}"""

ENCODER = """import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(place)
model = AutoModelForSequenceClassification.from_pretrained(place).eval()
texts = [query] * len(passages), list(passages)
inputs = tokenizer(*texts, padding=True, truncation="only_second", max_length={max_length}, return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
scores = logits[:, -1] - logits[:, 0] if logits.shape[1] == 2 else logits[:, 0]"""

CAUSAL = """import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(place)
model = AutoModelForCausalLM.from_pretrained(place).eval()
template = {template!r}
scores = []
for passage in passages:
    filled = [part.format(query=query, document=passage) for part in template.split("{{|}}")]
    parts = [part for part in ({prefix!r}, *filled, {suffix!r}) if part]
    ids = sum((tokenizer(part, add_special_tokens=False).input_ids for part in parts), [])
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[:, -1, [{false_id}, {true_id}]]  # {false}, {true}
    scores.append({score})
scores = torch.cat(scores)"""

SIMILARITY = """import torch
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(place)
model = AutoModel.from_pretrained(place).eval()

def embed(texts):
    inputs = tokenizer(texts, padding=True, truncation=True, max_length={max_length}, return_tensors="pt")
    weights = inputs["attention_mask"][:, :, None]
    with torch.no_grad():
        states = model(**inputs).last_hidden_state
    return torch.nn.functional.normalize((states * weights).sum(1) / weights.sum(1), dim=1)

scores = 20 * embed(list(passages)) @ embed([query])[0]"""

SNIPPETS = {"t5": T5, "encoder": ENCODER, "similarity": SIMILARITY, "causal": CAUSAL}
SCORES = {"margin": "logits[:, 1] - logits[:, 0]", "true": "logits[:, 1]"}


def write_card(
    store: Store, folder: str, identity: Mapping[str, Any], inputs: Mapping[str, Any], figures: Mapping[str, Any]
) -> None:
    """Write the card of the student in `folder`, before the manifest that names its sha256.

    Args:
        store, folder: the job's output, and the student's directory in it.
        identity: what the student depends on, as fingerprinted.
        inputs: the links of the chain of custody.
        figures: what the job measured.
    """
    contract = json.loads(store.read(f"{folder}/reranker.json"))
    name = f"{Path(store.root).name}, an InRanker student"
    store.write(f"{folder}/{CARD}", card(name, contract, identity, inputs, figures).encode())


def card(
    name: str,
    contract: Mapping[str, Any],
    identity: Mapping[str, Any],
    inputs: Mapping[str, Any],
    figures: Mapping[str, Any],
) -> str:
    """The card's text; see `write_card`."""
    start = str(inputs.get("start", {}).get("path", ""))
    data = list(_collections(inputs))
    teachers = _teachers(inputs)
    front = ModelCardData(
        base_model=start if _is_hub_id(start) else None,
        language=sorted({link["language"] for link in data if link.get("language")}) or None,
        library_name="transformers",
        pipeline_tag="text-ranking",
        tags=["inranker", "reranking", "information-retrieval", "knowledge-distillation", contract["architecture"]],
    )
    named = " and ".join(f"`{_named(teacher)}`" for teacher in teachers) or "a teacher"
    taught = f"by regressing the logits of {named}" if links(inputs, "labels") else "on hard labels"
    parts = [
        f"---\n{front.to_yaml()}\n---\n",
        f"# {name}\n",
        f"A reranker of {number(figures.get('parameters'))} parameters: it scores how well a passage answers a query. "
        f"Trained {taught}, after [InRanker: Distilled Rankers for Zero-shot Information Retrieval]({PAPER}).\n",
        "## Use\n",
        "With InRanker, which cuts long passages and batches by length:\n",
        "```python\nfrom inranker import Ranker\n\n"
        "ranker = Ranker(place)  # this directory, or its id on the hub\n"
        "best = ranker.rank(query, passages, top_k=10)  # each with index, score, probability, passage\n"
        "scores = ranker.score([(query, passage) for passage in passages])  # what ranks, float32\n```\n",
        f"With transformers alone, for {_fits(contract)}:\n",
        f"```python\n{snippet(contract, identity)}\n```\n",
        "## Training\n",
        _table(_training(start, teachers, identity, figures)),
        "## Data\n",
        _table(_data(data, inputs)),
        *([UPPER_BOUND] if identity.get("trains_on_test") else []),
        "## Measures\n",
        _measures(identity, figures),
        "## Limits\n",
        _limits(contract, data),
    ]
    return "\n".join(parts)


def snippet(contract: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """Code that scores `passages` for `query` with the checkpoint at `place`, without this project."""
    false_id, true_id = (identity.get("start", {}).get("token_ids") or (None, None))[:2]
    return SNIPPETS[contract["architecture"]].format(
        template=contract["template"],
        eos=contract["eos"],
        false=contract["false_token"],
        true=contract["true_token"],
        false_id=false_id,
        true_id=true_id,
        score=SCORES[contract["score"]],
        prefix=contract["prefix"],
        suffix=contract["suffix"],
        max_length=contract["max_length"],
    )


def _training(
    start: str, teachers: list[Mapping[str, Any]], identity: Mapping[str, Any], figures: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [("start", _short(start)), ("start's weights (sha256)", _weights(identity))]
    for teacher in teachers:
        rows += [("teacher", _named(teacher)), ("teacher's fingerprint", teacher.get("scorer", "–"))]
    rows += [("loss", identity.get("loss")), ("updates", number(figures.get("steps")))]
    rows += [(name.replace("_", " "), identity[name]) for name in RECIPE if identity.get(name) is not None]
    return [*rows, ("loss of the last window", number(figures.get("loss")))]


def _teachers(inputs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of one teacher's labels that one, of combined labels and of several sets all of them, each once."""
    found: list[Mapping[str, Any]] = []
    for link in links(inputs, "labels"):
        teacher = link.get("teacher") or {}
        found += [each for each in teacher.get("combined", [teacher] if teacher else []) if each not in found]
    return found


def _named(teacher: Mapping[str, Any]) -> str:
    if "path" in teacher:
        return _short(str(teacher["path"]))
    return ", ".join(str(value) for value in teacher.values() if not isinstance(value, dict | list)) or "unnamed"


def _data(data: list[Mapping[str, Any]], inputs: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for link in data:
        rows += [("collection", link.get("name")), ("split", link.get("split")), ("licence", link.get("licence"))]
        rows += [("language", link.get("language")), ("collection's content", link.get("content_hash"))]
    for name in ("pairs", "labels", "text_from"):
        rows += [(f"{name.replace('_', ' ')} (content)", link.get("content_hash")) for link in links(inputs, name)]
    return [(name, value) for name, value in rows if value]


def _collections(inputs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for pairs in links(inputs, "pairs") or [{}]:
        language = inputs.get("text_from", pairs).get("language")
        here = [link for link in pairs.get("inputs", {}).values() if isinstance(link, dict)]
        found += [{"language": language, **link} for link in here] or [{"language": language}]
    return found


def _measures(identity: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    dev = identity.get("dev")
    if figures.get("dev") is None or not dev:
        return "None were made while training. `pipelines/evaluate.py --systems bm25 student=PATH` makes them.\n"
    return (
        f"nDCG@10 = {number(figures['dev'])} on {dev['queries']} queries of the split `{dev['split']}`, which chose "
        f"the student, re-ranking the first stage's best {dev['depth']}. A figure that chose a model flatters it: "
        "measure on other queries before quoting one.\n"
    )


def _fits(contract: Mapping[str, Any]) -> str:
    """What a reranker reads whole."""
    inputs = "texts" if contract.get("truncation") == "each" else "pairs"
    return f"{inputs} of at most {contract['max_length']} tokens"


def _limits(contract: Mapping[str, Any], data: list[Mapping[str, Any]]) -> str:
    languages = ", ".join(sorted({link["language"] for link in data if link.get("language")})) or "one language"
    cut = "what is longer is cut" if contract.get("truncation") == "each" else "passages are cut, query and prompt kept"
    score = "the difference of the two logits" if contract["score"] == "margin" else "the true logit"
    return (
        f"- Reads {_fits(contract)}; {cut}.\n"
        f"- Trained on texts in {languages}; nothing is known of others.\n"
        f"- The score is {score}: it ranks passages of one query and is no calibrated probability.\n"
        "- It re-ranks what a first stage found, and inherits the mistakes of its teacher and its judgments.\n"
        "- The licences of the start weights, the teacher and the data apply; this card grants none.\n"
    )


def _table(rows: list[tuple[str, Any]]) -> str:
    lines = "".join(f"| {name} | {_cell(value)} |\n" for name, value in rows)
    return f"| | |\n|---|---|\n{lines}"


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _weights(identity: Mapping[str, Any]) -> str:
    return str(identity.get("start", {}).get("weights_sha256", "–"))


def _is_hub_id(path: str) -> bool:
    return bool(HUB_ID.fullmatch(path)) and not Path(path).exists()


def _short(path: str) -> str:
    """A hub id as it is; of a directory only its end, since where it lay says nothing to others."""
    return path if _is_hub_id(path) else "/".join(Path(path).parts[-2:])
