"""Docstrings of Python sources, parsed and never imported, each cut into a summary and the rest.

The name of the documented object is taken out of both, so that nobody can find the rest by a name the summary gives
away.
"""

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

EXCLUDED_DIRECTORIES = frozenset(
    # tests, applications, generated text, and what is vendored or installed rather than part of the library
    (
        *("test", "tests", "idle_test", "idlelib", "turtledemo", "pydoc_data"),
        *("lib2to3", "ensurepip", "site-packages", "dist-packages"),
    )
)
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(`])")
PARAGRAPH_END = re.compile(r"\n[ \t]*\n")
SIGNATURE = r"[\w.]*\b{name}\s*\([^\n]*\)(?:\s*->[^\n]*|\s*:)?[ \t]*(?:\n|$)"
ARGUMENTS = r"(?:\([^()\n]*\))"
PROSE_WORD = re.compile(r"[A-Z]?[a-z]+$")  # a name like this may be an ordinary word of the sentence


@dataclass(frozen=True)
class Docstring:
    """One docstring; `summary` is its first line or sentence, `rest` all that follows, each with spaces made single."""

    name: str
    module: str
    summary: str
    rest: str
    file: str
    line: int


def source_files(root: Path) -> list[Path]:
    """The library's own sources, sorted by their path below the root."""
    found = []
    for directory, below, files in os.walk(root):
        below[:] = [name for name in below if name not in EXCLUDED_DIRECTORIES]
        found += [Path(directory, name) for name in files if name.endswith(".py")]
    return sorted(found, key=lambda path: path.relative_to(root).parts)


def docstrings(root: Path) -> Iterator[Docstring]:
    """Every docstring below a directory of sources; a file that this Python cannot parse has none."""
    for path in source_files(root):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        parts = path.relative_to(root).with_suffix("").parts
        module = parts[:-1] if parts[-1] == "__init__" else parts
        seen: dict[str, int] = {}
        for name, node, text in _documented(tree, ".".join(module)):
            # Overloads and property setters repeat a name: the second is called NAME~2.
            seen[name] = seen.get(name, 0) + 1
            unique = name if seen[name] == 1 else f"{name}~{seen[name]}"
            summary, rest = summary_and_rest(text, name)
            relative = path.relative_to(root).as_posix()
            yield Docstring(unique, module[0], summary, rest, relative, getattr(node, "lineno", 1))


def summary_and_rest(text: str, name: str) -> tuple[str, str]:
    """The query and the passage of a docstring.

    A first paragraph of one line is the summary; of a longer one it is the first sentence. A signature that some
    docstrings begin with is dropped.

    Args:
        text: the docstring, dedented.
        name: qualified name of what it documents.
    """
    last = name.rpartition(".")[2]
    if last in text.partition("(")[0]:
        text = re.sub(r"\A\s*" + SIGNATURE.format(name=re.escape(last)), "", text).strip()
    first, *others = PARAGRAPH_END.split(text, maxsplit=1)
    if "\n" in first:
        sentence, *more = SENTENCE_END.split(first, maxsplit=1)
        others = more + others
        first = sentence
    return without_name(first, name), without_name("\n\n".join(others), name)


def without_name(text: str, name: str) -> str:
    """Text without a qualified name, its dotted tails, and its last part wherever that cannot be an ordinary word."""
    parts = name.split(".")
    last = parts[-1]
    # Patterns are made for thousands of names, so each is made only where the plain string is found.
    if text.lstrip("`'\"* ").startswith(last):
        text = re.sub(rf"\A\W*{re.escape(last)}\s*(?:--?|:|—)\s+", "", text)  # "heapq -- a heap queue"
    if f"{last}(" in text:
        text = re.sub(rf"(?<![\w.]){re.escape(last)}(?:{ARGUMENTS}|\()", " ", text)
    forms = [".".join(parts[start:]) for start in range(len(parts) - 1)]
    forms += [] if PROSE_WORD.match(last) else [last]
    for form in forms:
        if form in text:
            text = re.sub(rf"(?<![\w.]){re.escape(form)}(?!\w){ARGUMENTS}?", " ", text)
    return " ".join(text.split())


def _documented(node: ast.AST, name: str) -> Iterator[tuple[str, ast.AST, str]]:
    """(qualified name, node, docstring) in source order; functions within functions are not reachable, so left out."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
        text := ast.get_docstring(node)
    ):
        yield name, node, text
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _documented(child, f"{name}.{child.name}")
        elif isinstance(child, ast.If | ast.Try | ast.With):
            yield from _documented(child, name)  # definitions for one platform only
