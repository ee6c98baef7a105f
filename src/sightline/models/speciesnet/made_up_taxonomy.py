"""A taxonomy that exists nowhere, of the size and form of the real one, for networks of random weights.

It is the same whatever the seed of the weights, so that classifiers and rules made at different times fit.
Special labels, and the way from mammals to humans, are those of every release.
"""

from __future__ import annotations

import json
import random
import uuid
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

from sightline.taxa import ANIMAL, BLANK, HUMAN, LEVELS, UNKNOWN, VEHICLE, Taxon
from sightline.weights.sources import Recipe

# As many as the published classifier tells apart.
COUNT: Final = 2498
CLASSES: Final = ("mammalia", "aves", "reptilia", "amphibia", "insecta")

# Roughly how many of the labels are of whole classes, orders, families and genera; the rest are of species.
_COARSE: Final = {"class": len(CLASSES), "order": 60, "family": 170, "genus": 330}

_SYLLABLES: Final = (
    "ba", "ce", "do", "fu", "ga", "hi", "ko", "lu", "me", "na", "o", "pi", "qua", "ra", "se", "ti", "u",
    "va", "xe", "ya", "zo", "ther", "cor", "lin",
)  # fmt: skip
_ENDINGS: Final = {"order": "formes", "family": "idae", "genus": "us", "species": "ensis"}

_COUNTRIES: Final = (
    "ARG", "AUS", "AUT", "BOL", "BRA", "BWA", "CAN", "CHE", "CHL", "CHN", "COL", "CRI", "DEU", "ECU", "ESP",
    "ETH", "FIN", "FRA", "GBR", "GHA", "GUY", "IDN", "IND", "ITA", "JPN", "KAZ", "KEN", "LAO", "MDG", "MEX",
    "MNG", "MOZ", "MYS", "NAM", "NGA", "NOR", "NPL", "NZL", "PAN", "PER", "PNG", "POL", "PRY", "RUS", "RWA",
    "SAU", "SWE", "THA", "TUR", "TZA", "UGA", "USA", "VEN", "VNM", "ZAF", "ZMB", "ZWE",
)  # fmt: skip
_STATES: Final = (
    "AK", "AL", "AR", "AZ", "CA", "CO", "CT", "DE", "FL", "GA", "HI", "IA", "ID", "IL", "IN", "KS", "KY",
    "LA", "MA", "MD", "ME", "MI", "MN", "MO", "MS", "MT", "NC", "ND", "NE", "NH", "NJ", "NM", "NV", "NY",
    "OH", "OK", "OR", "PA", "RI", "SC", "SD", "TN", "TX", "UT", "VA", "VT", "WA", "WI", "WV", "WY",
)  # fmt: skip


def labels() -> tuple[str, ...]:
    """Return the labels of the classifier in its order: 2,498 full labels."""
    return _drawn()[0]


def taxonomy() -> tuple[str, ...]:
    """All labels, and one for every taxon that one of them belongs to."""
    return _drawn()[1]


def geofence() -> str:
    """Rules by country for three of five species, as JSON: allowed or blocked, some of them by US state."""
    generator = random.Random("geofence")  # noqa: S311
    rules: dict[str, dict[str, dict[str, list[str]]]] = {}
    for label in taxonomy():
        taxon = Taxon.parse(label)
        if taxon.level != "species" or label == HUMAN or generator.random() > 0.6:
            continue
        kind = "block" if generator.random() < 0.2 else "allow"
        countries = sorted(generator.sample(_COUNTRIES, generator.randint(1, 20)))
        rules[taxon.key] = {kind: {country: _divisions(generator, country) for country in countries}}
    return json.dumps(rules, indent=1) + "\n"


def write_labels(output: Path, recipe: Recipe) -> None:
    """Write what the classifier tells apart, a label per line."""
    del recipe  # every seed and size has the same
    output.write_text(_lines(labels()), encoding="utf-8")


def write_taxonomy(output: Path, recipe: Recipe) -> None:
    """Write all labels, one per line."""
    del recipe
    output.write_text(_lines(taxonomy()), encoding="utf-8")


def write_geofence(output: Path, recipe: Recipe) -> None:
    """Write the rules by country."""
    del recipe
    output.write_text(geofence(), encoding="utf-8")


def _lines(texts: tuple[str, ...]) -> str:
    return "".join(f"{text}\n" for text in texts)


def _divisions(generator: random.Random, country: str) -> list[str]:
    """Some US states, and none, which means all, of any other country."""
    if country != "USA" or generator.random() < 0.5:
        return []
    return sorted(generator.sample(_STATES, generator.randint(1, 15)))


@cache
def _drawn() -> tuple[tuple[str, ...], tuple[str, ...]]:
    generator = random.Random("taxonomy")  # noqa: S311
    trees: dict[str, list[tuple[str, ...]]] = {LEVELS[0]: [(name,) for name in CLASSES]}
    for above, level in pairwise(LEVELS):
        trees[level] = _children(generator, trees[above], level)
    special = [BLANK, ANIMAL, HUMAN, VEHICLE]
    chosen: list[tuple[str, ...]] = []
    for level, count in _COARSE.items():
        chosen += generator.sample(trees[level], min(count, len(trees[level])))
    chosen += generator.sample(trees["species"], COUNT - len(special) - len(chosen))
    listed = [_label(levels) for levels in chosen] + special
    generator.shuffle(listed)
    above_human = [Taxon.parse(HUMAN).levels[:depth] for depth in range(2, len(LEVELS))]
    everything = {
        levels[:depth]: None for levels in (*chosen, *above_human) for depth in range(1, len(levels) + 1)
    }
    taxa = [_label(levels) for levels in everything]
    return tuple(listed), (*sorted(taxa, key=lambda label: Taxon.parse(label).levels), *special, UNKNOWN)


def _children(generator: random.Random, parents: list[tuple[str, ...]], level: str) -> list[tuple[str, ...]]:
    """Return several taxa of the next level for each taxon, more for finer levels."""
    counts = {"order": (8, 20), "family": (2, 6), "genus": (2, 5), "species": (1, 4)}[level]
    names: set[str] = set()
    children = []
    for parent in parents:
        for _ in range(generator.randint(*counts)):
            name = _name(generator, level)
            while name in names:
                name = _name(generator, level)
            names.add(name)
            children.append((*parent, name))
    return children


def _name(generator: random.Random, level: str) -> str:
    return "".join(generator.choices(_SYLLABLES, k=generator.randint(2, 4))) + _ENDINGS[level]


def _label(levels: tuple[str, ...]) -> str:
    """The uuid follows from the name, the common name from its last two parts."""
    padded = (*levels, *("" for _ in range(len(LEVELS) - len(levels))))
    key = ";".join(padded)
    common = " ".join(levels[-2:]) if len(levels) == len(LEVELS) else levels[-1]
    return f"{uuid.uuid5(uuid.NAMESPACE_URL, key)};{key};{common}"
