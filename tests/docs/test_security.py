"""The security page: every threat names tests, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def rows() -> list[list[str]]:
    """Cells of the table of threats."""
    section = PAGE.split("\n## Threats\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


@cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:50])
def test_each_threat_has_a_protection_and_tests_that_exist(row: list[str]) -> None:
    threat, protection, tests = row
    assert threat
    assert protection
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", tests)
    assert named
    assert tests.count("`") == 2 * len(named), "every entry is a path and a function"
    missing = [f"{path}::{name}" for path, name in named if name not in functions(path)]
    assert missing == []


def test_the_table_has_rows() -> None:
    assert len(rows()) >= 35


def test_every_attack_is_on_the_page() -> None:
    attacks = {path.name for path in (ROOT / "tests" / "attack").glob("test_*.py")}
    assert {name for name in attacks if f"tests/attack/{name}" not in PAGE} == set()
