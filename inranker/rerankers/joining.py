"""When may token ids of text halves be joined instead of tokenising the whole text?

For SentencePiece-style tokenizers that cut at every space, tokenising `a b` gives the tokens of `a` followed by
those of `b`, provided that nothing acts across that space. What can: a grapheme that spans it (a combining mark
after the space, a prepending mark before it), runs of spaces that are collapsed, a literal `▁`, and added tokens
that swallow neighbouring spaces. `JoinRule` admits a text only when its first and last characters exclude all
of these; every other text is tokenised whole.
"""

import json
from typing import Any

# Code points that neither combine with a neighbour nor are, or normalise to, a space.
SAFE_RANGES = (
    range(0x21, 0x7F),
    range(0xA1, 0xA8),
    range(0xA9, 0xAD),
    range(0xB0, 0xB4),
    range(0xB5, 0xB8),
    range(0xB9, 0x2D8),
    range(0x391, 0x3A2),
    range(0x3A3, 0x3CF),
    range(0x400, 0x483),
    range(0x48A, 0x530),
    range(0x5D0, 0x5EB),
    range(0x620, 0x64B),
    range(0x2018, 0x2020),
    range(0x3041, 0x3097),
    range(0x30A1, 0x30FB),
    range(0x4E00, 0xA000),
)
# Normalisers that look at one grapheme (or one run of spaces) at a time.
LOCAL_NORMALIZERS = {"Precompiled", "Strip", "NFKC", "NFC", "Lowercase", "Replace"}
SPACE_RUN = {"Regex": " {2,}"}


class JoinRule:
    """Decides for one fast tokenizer whether, and for which texts, ids may be joined at a space."""

    def __init__(self, backend: Any) -> None:
        state = json.loads(backend.to_str())
        self.possible = _splits_at_spaces(state["pre_tokenizer"]) and _acts_locally(state["normalizer"])
        self._unsafe = {"▁"}.union(*({t["content"][0], t["content"][-1]} for t in state["added_tokens"]))

    def admits(self, text: str) -> bool:
        """Whether `text`, set between spaces, keeps the token ids it has by itself."""
        return bool(text) and self._safe(text[0]) and self._safe(text[-1])

    def _safe(self, character: str) -> bool:
        code = ord(character)
        return character not in self._unsafe and any(code in safe for safe in SAFE_RANGES)


def _splits_at_spaces(pre_tokenizer: dict[str, Any] | None) -> bool:
    parts = _parts(pre_tokenizer, "pretokenizers")
    if not parts or parts[-1]["type"] != "Metaspace" or not parts[-1].get("split", True):
        return False
    scheme = parts[-1].get("prepend_scheme", "always")
    # After a split at spaces, `first` would mark the first word only.
    return scheme in (("always", "first") if len(parts) == 1 else ("always",)) and all(
        part["type"] == "WhitespaceSplit" for part in parts[:-1]
    )


def _acts_locally(normalizer: dict[str, Any] | None) -> bool:
    return all(
        part["type"] in LOCAL_NORMALIZERS and (part["type"] != "Replace" or part["pattern"] == SPACE_RUN)
        for part in _parts(normalizer, "normalizers")
    )


def _parts(step: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    if step is None:
        return []
    return list(step[key]) if step["type"] == "Sequence" else [step]
