"""From text to index terms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inranker.errors import UserError
from inranker.retrieval.analysis import LANGUAGES, analyser


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The quick Foxes are jumping", ["quick", "fox", "jump"]),
        ("Parkinson's disease and dogs’ U.S. o'clock", ["parkinson", "diseas", "dog", "u.", "o'clock"]),
        ("the and of", []),
        ("", []),
        ("IL-6 TGF-β1 3.5 os.path", ["il", "6", "tgf", "β1", "3.5", "os.path"]),
        ("caf\u00e9 cafe\u0301", ["café", "café"]),
        ("naïve relational conditional", ["naïv", "relat", "condit"]),
        # Where Porter's program, and so Lucene, departs from his paper.
        ("anthropology anthropological biology", ["anthropolog", "anthropolog", "biologi"]),
        ("possibly possible probably reasonably", ["possibl", "possibl", "probabl", "reason"]),
    ],
)
def test_english(text: str, expected: list[str]) -> None:
    assert analyser("en").terms(text) == expected


def test_portuguese_keeps_accents_drops_stop_words_and_stems() -> None:
    terms = analyser("pt").terms
    assert terms("As questões não são fáceis para os estudantes") == ["questõ", "fác", "estud"]
    assert terms("universidade") == terms("universidades")
    assert terms("avo") != terms("avó")


def test_scripts_with_vowel_signs_stay_in_one_piece() -> None:
    assert len(analyser("hi").terms("हिन्दी किताब")) == 2
    assert len(analyser("ta").terms("தமிழ் மொழி")) == 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_an_analyser_of_its_own_name(language: str) -> None:
    assert analyser(language).name.startswith(f"{language}-")
    assert analyser(language).terms("42") == ["42"]


def test_unknown_language_lists_the_known() -> None:
    with pytest.raises(UserError, match=r"language 'xx' has no analyser; known are en, ar, .*pt"):
        analyser("xx")


@given(st.text())
def test_any_text_has_terms_that_do_not_depend_on_what_came_before(text: str) -> None:
    used = analyser("en")
    used.terms("something else entirely")
    assert used.terms(text) == analyser("en").terms(text)
    assert all(used.terms(text))
