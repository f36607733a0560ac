"""Every module, and every public class, function and method of the library, says what it is for."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

MODULES = sorted((REPOSITORY / "inranker").rglob("*.py"))
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def needs_none(node: Definition) -> bool:
    """An overload is described where it is implemented, a property of a protocol (whose body is `...`) by its owner."""
    names = {ast.unparse(decorator) for decorator in node.decorator_list}
    bare = len(node.body) == 1 and isinstance(node.body[0], ast.Expr) and ast.unparse(node.body[0]) == "..."
    return "overload" in names or ("property" in names and bare)


def undescribed(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[str]:
    """Public names without a docstring, those of classes with the class' name before them."""
    for inner in node.body:
        if not isinstance(inner, Definition) or inner.name.startswith("_"):
            continue
        if not ast.get_docstring(inner) and not needs_none(inner):
            yield f"{prefix}{inner.name}, line {inner.lineno}"
        if isinstance(inner, ast.ClassDef):
            yield from undescribed(inner, f"{prefix}{inner.name}.")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_public_names_are_described(path: Path) -> None:
    module = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(module), "the module says nothing of itself"
    assert list(undescribed(module)) == []


def test_a_name_without_a_docstring_is_found() -> None:
    code = "class A:\n    '''.'''\n    def b(self): pass\n    def _c(self): pass\n    @property\n    def d(self): ...\n"
    assert list(undescribed(ast.parse(code))) == ["A.b, line 3"]
