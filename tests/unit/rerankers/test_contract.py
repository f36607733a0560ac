"""reranker.json, the family table, and the errors that name what to do."""

import json

import pytest

from inranker.errors import UserError
from inranker.rerankers.contract import FAMILIES, Contract, load_contract, save_contract, token_ids


def folder(tmp_path, name, **config):
    path = tmp_path / name
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"model_type": "t5", **config}))
    return path


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("castorini/monot5-3b-msmarco-10k", "monot5"),
        ("unicamp-dl/InRanker-base", "monot5"),
        ("unicamp-dl/mt5-base-en-msmarco", "mt5"),
        ("unicamp-dl/mt5-base-mmarco-v2", "mt5"),
        ("unicamp-dl/mt5-3B-mmarco-en-pt", "mt5-xl"),
        ("unicamp-dl/mt5-13b-mmarco-100k", "mt5-xl"),
        ("unicamp-dl/ptt5-base-pt-msmarco-100k-v2", "ptt5"),
        ("unicamp-dl/monoptt5-large", "monoptt5"),
        ("Qwen/Qwen3-Reranker-0.6B", "qwen3-reranker"),
        ("mixedbread-ai/mxbai-rerank-base-v2", "mxbai-rerank-v2"),
    ],
)
def test_families_are_known_by_name(tmp_path, name, family):
    assert load_contract(folder(tmp_path, name)) == FAMILIES[family]
    assert load_contract(folder(tmp_path, "local", _name_or_path=name)) == FAMILIES[family]
    snapshot = folder(tmp_path, f"models--{name.replace('/', '--')}/snapshots/0123abc")
    assert load_contract(snapshot) == FAMILIES[family]


@pytest.mark.parametrize(
    ("family", "answers", "start"),
    [
        ("monot5", ("▁false", "▁true"), "Query:"),
        ("mt5", ("▁no", "▁yes"), "Query:"),
        ("mt5-xl", ("▁", "▁true"), "Query:"),
        ("ptt5", ("▁não", "▁sim"), "Query:"),
        ("monoptt5", ("▁Não", "▁Sim"), "Pergunta:"),
    ],
)
def test_tokens_and_templates_differ_by_family(family, answers, start):
    contract = FAMILIES[family]
    assert (contract.false_token, contract.true_token) == answers
    assert contract.template.startswith(start)


def test_an_unknown_family_says_how_to_name_the_tokens(tmp_path):
    path = folder(tmp_path, "mystery")
    with pytest.raises(UserError, match=r"false_token='▁false' true_token='▁true'.*reranker\.json"):
        load_contract(path)
    named = load_contract(path, false_token="▁no", true_token="▁yes", max_length=64)
    assert (named.family, named.false_token, named.max_length) == ("custom", "▁no", 64)
    assert load_contract(path, family="ptt5") == FAMILIES["ptt5"]


def test_sequence_classifiers_need_no_tokens(tmp_path):
    path = folder(tmp_path, "some-model", model_type="bert", architectures=["BertForSequenceClassification"])
    assert load_contract(path).architecture == "encoder"


def test_the_file_wins_over_the_name(tmp_path):
    path = folder(tmp_path, "monot5-base")
    mine = Contract("mine", false_token="▁a", true_token="▁b", score="true", truncation="legacy-training")
    save_contract(path, mine)
    assert load_contract(path) == mine
    assert load_contract(path, max_length=100).max_length == 100


@pytest.mark.parametrize("text", ["{", '{"families": 1}', '{"family": "x", "truncation": "left"}', "[]"])
def test_a_damaged_file_is_named(tmp_path, text):
    path = folder(tmp_path, "monot5-base")
    (path / "reranker.json").write_text(text)
    with pytest.raises(UserError, match=r"not a reranker contract|not one of"):
        load_contract(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"template": "Query: {query}"},
        {"template": "{document} {query}"},
        {"template": "{query} {query} {document}"},
        {"truncation": "middle"},
        {"score": "both"},
        {"architecture": "rnn"},
        {"max_length": 4},
        {"architecture": "causal", "truncation": "legacy-training"},
    ],
)
def test_impossible_contracts_are_refused(fields):
    with pytest.raises(UserError):
        Contract(**{"family": "x", "false_token": "a", "true_token": "b", **fields})


def test_an_unknown_field_is_named(tmp_path):
    with pytest.raises(UserError, match="no field 'max_lenght'"):
        load_contract(folder(tmp_path, "monot5"), max_lenght=12)


def test_real_vocabularies_have_the_published_ids(t5_tokenizer, shared_dir):
    assert token_ids(FAMILIES["monot5"], t5_tokenizer) == (6136, 1176)
    for family in ("ptt5", "monoptt5"):
        with pytest.raises(UserError, match="not a single entry"):
            token_ids(FAMILIES[family], t5_tokenizer)


def test_portuguese_vocabulary_has_its_own_ids(shared_dir):
    from inranker.rerankers.vocabulary import tokenizer_from

    path = shared_dir / "tokenizers" / "ptt5" / "spm_32000_pt.model"
    if not path.exists():
        pytest.skip(f"the PTT5 vocabulary is not at {path}")
    tokenizer = tokenizer_from(path)
    assert token_ids(FAMILIES["ptt5"], tokenizer) == (47, 2593)
    with pytest.raises(UserError, match="'▁false' of family 'monot5' is not a single entry"):
        token_ids(FAMILIES["monot5"], tokenizer)


def test_two_equal_answers_are_refused(t5_tokenizer):
    with pytest.raises(UserError, match="are the same"):
        token_ids(Contract("x", false_token="▁true", true_token="▁true"), t5_tokenizer)
