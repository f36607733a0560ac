"""From text to index terms, one analyser a language: the same for passages and queries.

English follows Lucene's EnglishAnalyzer, which the published BM25 figures come from: words, possessive dropped, 33 stop
words, Porter. Other languages take their stop words from bm25s and their stemmer from Snowball; Lucene's own analysers
stem some of them differently (Portuguese more lightly), so their figures differ from Lucene's.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from inranker.errors import UserError

# Vowel signs and other marks of a script belong to the word though Python's \w leaves them out.
MARKS = "\u0300-\u036f\u064b-\u065f\u0670\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963\u0b82\u0bbe-\u0bcd\u0bd7"
WORD = re.compile(rf"[\w{MARKS}]+(?:['’.][\w{MARKS}]+)*")
POSSESSIVES = ("'s", "’s")
LUCENE_STOP_WORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with".split()
)
# Of the languages Snowball has, those that people search in; the name is both Snowball's and, with stop words, bm25s's.
SNOWBALL = {
    **{"ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "es": "spanish"},
    **{"et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish", "fr": "french", "ga": "irish"},
    **{"hi": "hindi", "hu": "hungarian", "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian"},
    **{"ne": "nepali", "nl": "dutch", "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian"},
    **{"ru": "russian", "sr": "serbian", "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish"},
}
LANGUAGES = ("en", *SNOWBALL)
MAX_KNOWN = 1_000_000  # words whose term is remembered, some 150 MB
VERSION = 2  # of the rules here; an index made by another version is made anew


@dataclass(frozen=True)
class Analyser:
    """Lower-case, cut into words, drop stop words, stem.

    `name` tells analysers with different results apart and is part of an index's key. Not safe to share between
    threads, as Snowball's stemmers keep state.
    """

    name: str
    stop_words: frozenset[str]
    stem: Callable[[str], str]
    possessives: tuple[str, ...] = ()

    @cached_property
    def _known(self) -> dict[str, str]:
        return {}

    def terms(self, text: str) -> list[str]:
        """The index terms of a text, in order, repetitions included; none where it holds only stop words."""
        terms = []
        for word in WORD.findall(unicodedata.normalize("NFC", text).lower()):
            term = self._known.get(word)
            if term is None:
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                term = self._known[word] = self._term(word)
            if term:
                terms.append(term)
        return terms

    def _term(self, word: str) -> str:
        if word.endswith(self.possessives or ()):
            word = word[:-2]
        return "" if word in self.stop_words else self.stem(word)


def analyser(language: str) -> Analyser:
    """The analyser of a language (ISO 639-1 code).

    Raises:
        UserError: there is none for it.
    """
    import Stemmer

    if language == "en":
        porter = Stemmer.Stemmer("porter").stemWord
        return Analyser(
            f"en-porter-{VERSION}", LUCENE_STOP_WORDS, lambda word: _depart(porter(word), porter), POSSESSIVES
        )
    if language in SNOWBALL:
        name = SNOWBALL[language]
        return Analyser(f"{language}-snowball-{VERSION}", _stop_words(name), Stemmer.Stemmer(name).stemWord)
    raise UserError(f"language {language!r} has no analyser; known are {', '.join(LANGUAGES)}")


def _depart(stem: str, porter: Callable[[str], str]) -> str:
    """Porter's own program, which Lucene follows, departs from his paper, which Snowball follows, in two endings:
    `bli` becomes `ble` after any letter and `logi` becomes `log` (https://tartarus.org/martin/PorterStemmer/), so that
    `anthropology` meets `anthropological` and `possibly` meets `possible`."""
    if stem.endswith("logi") and _has_measure(stem[:-4]):
        return stem[:-1]
    if stem.endswith("bli") and _has_measure(stem[:-3]):
        return porter(f"{stem[:-1]}e")
    return stem


def _has_measure(stem: str) -> bool:
    """Porter's m > 0: a vowel and, somewhere after it, a consonant."""
    vowel_seen = vowel = False
    for place, letter in enumerate(stem):
        vowel = letter in "aeiou" or (letter == "y" and place > 0 and not vowel)
        if vowel_seen and not vowel:
            return True
        vowel_seen |= vowel
    return False


def _stop_words(name: str) -> frozenset[str]:
    """The list that bm25s carries for a language; none for the languages it has no list for."""
    from bm25s import stopwords

    words: Iterable[str] = getattr(stopwords, f"STOPWORDS_{name.upper()}", ())
    return frozenset(words)
