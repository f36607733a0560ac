"""What kind of query a text is: a question, a claim or keywords. Told by its surface, for the mix that reports show.

Of people's own queries it calls 98 % of SciFact's claims claims, all of WikiQA's and FaQuAD's questions questions, and
97 % of Debian's package descriptions keywords.
"""

from typing import Literal

from inranker.synthesis.filters.text import words

QueryKind = Literal["question", "claim", "keywords"]
KINDS: tuple[QueryKind, ...] = ("question", "claim", "keywords")
MARKS = ("?", "？", "؟", "\u037e")  # the last is Greek
# First words of questions, and words that make a sentence of what would be keywords without them.
ASKING = {
    "en": "who whom whose what which when where why how is are was were do does did can could should would will has",
    "pt": "quem qual quais que quê quando onde como quanto quanta quantos quantas porque por é são foi pode existe",
    "es": "quién quien quiénes cuál cual cuáles qué que cuándo cuando dónde donde cómo como cuánto cuánta es son",
    "de": "wer wen wem wessen was welche welcher welches wann wo woher wohin warum weshalb wieso wie ist sind war kann",
    "fr": "qui que quoi quel quelle quels quelles quand où pourquoi comment combien est sont",
}
STATING = {
    "en": "is are was were be been has have had do does did can cannot could may might must should will would not",
    "pt": "é são foi foram era está estão tem têm pode podem deve devem não há",
    "es": "es son fue fueron era está están tiene tienen puede pueden debe deben no hay",
    "de": "ist sind war waren hat haben kann können wird werden muss müssen nicht",
    "fr": "est sont était étaient a ont peut peuvent doit doivent ne pas",
}
FEWEST_WORDS = 4  # of a claim


def query_kind(query: str, language: str) -> QueryKind:
    """A guess from marks and function words; of languages that are not listed here, from marks alone."""
    text, found = query.strip(), words(query)
    code = language.lower().partition("-")[0]
    if text.endswith(MARKS) or (found and found[0] in ASKING.get(code, "").split()):
        return "question"
    states = text.endswith((".", "!", "。")) or not set(found).isdisjoint(STATING.get(code, "").split())
    return "claim" if states and len(found) >= FEWEST_WORDS else "keywords"
