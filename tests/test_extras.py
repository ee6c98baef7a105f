from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from sightline.extras import how_to_add

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = {name: each for name, each in PROJECT["optional-dependencies"].items() if name != "all"}


@pytest.mark.parametrize(("extra", "packages"), EXTRAS.items())
def test_the_advice_names_packages_that_an_index_has(extra: str, packages: list[str]) -> None:
    advice = how_to_add(extra)
    assert "make extras" in advice
    assert "sightline[" not in advice
    for package in packages:
        assert f"'{package.partition('>')[0]}" in advice
