"""How to add an optional part: the name ``sightline[...]`` works only where an index has the package."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

_EXTRA = re.compile(r"""extra\s*==\s*['"](?P<name>[\w-]+)['"]""")


def how_to_add(extra: str) -> str:
    """Return the command to run, from a checkout and from an installed wheel."""
    packages = " ".join(f"'{package}'" for package in _packages(extra))
    return f"run make extras (in a checkout), or pip install {packages}"


def _packages(extra: str) -> list[str]:
    """The requirements of ``extra``, as the installed package declares them."""
    try:
        declared = requires("sightline") or []
    except PackageNotFoundError:  # a checkout on the path, not installed
        declared = []
    found = []
    for requirement in declared:
        package, _, marker = requirement.partition(";")
        if (named := _EXTRA.search(marker)) and named["name"] == extra:
            found.append(package.strip())
    return found or [f"sightline[{extra}]"]
