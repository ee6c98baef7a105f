"""Codes of countries and of states of the USA, as the rules on where taxa live are keyed by them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pycountry

USA = "USA"
# Countries by their own code (alpha-2) and divisions of the USA by the same: ISO 3166-2:US, outlying areas.
TERRITORIES_OF_USA = frozenset({"AS", "GU", "MP", "PR", "UM", "VI"})


def checked_country(code: str) -> str:
    """``code`` if it is ISO 3166-1 alpha-3. Raises ValueError, naming the code that was meant if known."""
    if code == code.upper() and pycountry.countries.get(alpha_3=code):
        return code
    rule = "country is three capital letters, ISO 3166-1 alpha-3"
    try:
        meant = pycountry.countries.lookup(code.strip())
    except LookupError:
        raise ValueError(f"{rule}, such as KEN for Kenya; {code[:50]!r} is none") from None
    raise ValueError(f"{rule}: {meant.alpha_3} for {meant.name}, not {code[:50]!r}")


def checked_region(country: str, code: str) -> str:
    """``code`` if ISO 3166-2 has such a division of ``country`` (alpha-3), in two letters or digits.

    Raises ValueError, which names the code that was meant if known.
    """
    names = _divisions(country)
    if len(code) == 2 and code in names:
        return code
    rule = "admin1_region is two letters, ISO 3166-2 without the country"
    said = code.strip().lower()
    for short, name in names.items():
        if len(short) == 2 and said in (short.lower(), name.lower(), f"us-{short.lower()}"):
            raise ValueError(f"{rule}: {short} for {name}, not {code[:50]!r}")
    raise ValueError(f"{rule}, such as CA for California with USA; {country} has no {code[:50]!r}")


@cache
def _divisions(country: str) -> Mapping[str, str]:
    """Names of a country's divisions by the part of their code after the country's."""
    known = pycountry.countries.get(alpha_3=country)
    prefix = f"{known.alpha_2}-" if known else ""
    return {
        each.code.removeprefix(prefix): each.name
        for each in pycountry.subdivisions
        if prefix and each.code.startswith(prefix)
    }


def alpha_3(alpha_2: str) -> str | None:
    """The three-letter code for a two-letter one; None for a code without one, such as Kosovo's XK."""
    country = pycountry.countries.get(alpha_2=alpha_2)
    return str(country.alpha_3) if country else None


def country_name(alpha_3: str) -> str:
    country = pycountry.countries.get(alpha_3=alpha_3)
    # Taiwan, Bolivia and others have a shorter name in use beside the formal one.
    return str(getattr(country, "common_name", country.name)) if country else alpha_3


def state_code(name: str) -> str | None:
    """Two letters of a state of the USA, or of the District of Columbia, by its English name."""
    return next((code for code, known in _divisions(USA).items() if known == name), None)
