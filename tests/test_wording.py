"""The mechanical part of the rules for words and modules, over the source and docs.

Each limit is the present count: lower it when you remove some. It is never raised.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "sightline"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]

# A subject clause has to be read twice. So has a sentence with "is no" for "is not a".
CLAUSE = re.compile(r"(What|Whatever|Who|Whoever|Of|Those|That|Which)\b")
# In a page, "That" may point to the sentence before.
PAGE_CLAUSE = re.compile(r"(What|Whatever|Who|Whoever|Which|Those who|Those that)\b")
METAPHORS = re.compile(r"\b(whoever|what there is|asks for nothing|lets? go of|had a say)\b", re.IGNORECASE)

DOCSTRINGS_WITH_A_CLAUSE = 155
SENTENCES_WITH_A_CLAUSE = 15
METAPHORS_IN_PAGES = 4
MODULES_WITH_ONE_IMPORTER = 124
LINES_OF_A_MODULE = 400
LONG_MODULES = 0


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def modules() -> dict[str, Path]:
    """Return the files of the package by the names they are imported by."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ("sightline", *path.relative_to(SOURCE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported_by(path: Path, known: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for each in node.names:
                inner = f"{node.module}.{each.name}"
                if (name := inner if inner in known else node.module) in known:
                    yield name


def modules_with_one_importer() -> list[str]:
    """Return modules that exactly one other module imports, other than their own package's ``__init__``."""
    known = modules()
    importers: dict[str, set[str]] = {name: set() for name in known}
    for importer, path in known.items():
        for name in imported_by(path, known):
            if name != importer:
                importers[name].add(importer)
    return [
        f"{name} <- {only}"
        for name, users in importers.items()
        if len(users) == 1 and (only := next(iter(users))) != name.rpartition(".")[0]
    ]


def docstrings_with_a_clause() -> list[str]:
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return [
        f"{path.relative_to(ROOT)}: {text.splitlines()[0]}"
        for path in modules().values()
        for node in ast.walk(tree(path))
        if isinstance(node, kinds) and (text := ast.get_docstring(node)) and CLAUSE.match(text)
    ]


def sentences(page: Path) -> Iterator[str]:
    """Yield the sentences of a page's prose: no code, no tables, no headings."""
    text = re.sub(r"^(```|~~~).*?^\1", "\n", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for paragraph in re.split(r"\n\s*\n|^\s*(?:[-*]|\d+\.) ", text, flags=re.MULTILINE):
        if not paragraph.lstrip().startswith(("#", "|", "<", ">")):
            yield from re.split(r"(?<=[.!])\s+(?=[A-Z])", " ".join(paragraph.split()))


def sentences_with_a_clause() -> list[str]:
    return [
        f"{page.relative_to(ROOT)}: {sentence}"
        for page in PAGES
        for sentence in sentences(page)
        if PAGE_CLAUSE.match(sentence) and not sentence.endswith("?")
    ]


def metaphors() -> list[str]:
    return [
        f"{page.relative_to(ROOT)}: {each}"
        for page in PAGES
        for each in sentences(page)
        if METAPHORS.search(each)
    ]


def long_modules() -> list[str]:
    sizes = {name: len(path.read_text("utf-8").splitlines()) for name, path in modules().items()}
    return [f"{name}: {lines} lines" for name, lines in sizes.items() if lines > LINES_OF_A_MODULE]


@pytest.mark.parametrize(
    ("found", "limit"),
    [
        (docstrings_with_a_clause, DOCSTRINGS_WITH_A_CLAUSE),
        (sentences_with_a_clause, SENTENCES_WITH_A_CLAUSE),
        (metaphors, METAPHORS_IN_PAGES),
        (modules_with_one_importer, MODULES_WITH_ONE_IMPORTER),
        (long_modules, LONG_MODULES),
    ],
    ids=["docstrings", "sentences", "metaphors", "modules with one importer", "long modules"],
)
def test_what_breaks_a_rule_grows_fewer(found, limit: int) -> None:
    breaking = found()
    assert len(breaking) <= limit, "\n".join(breaking)
