from __future__ import annotations

import re

import pycountry
import pytest

from sightline.operations.identify_species.countries import (
    TERRITORIES_OF_USA,
    alpha_3,
    checked_country,
    checked_region,
    country_name,
    state_code,
)


@pytest.mark.parametrize("code", ["KEN", "USA", "PRI", "ATA", "TWN"])
def test_alpha_3_codes_are_taken(code: str) -> None:
    assert checked_country(code) == code


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Kenya", "KEN for Kenya, not 'Kenya'"),
        ("kenya", "KEN for Kenya"),
        ("Republic of Kenya", "KEN for Kenya"),
        ("ke", "KEN for Kenya, not 'ke'"),
        ("KE", "KEN for Kenya"),
        ("ken", "KEN for Kenya"),
        (" KEN", "KEN for Kenya"),
        ("404", "KEN for Kenya"),
        ("XX", "such as KEN for Kenya; 'XX' is none"),
        ("XXX", "such as KEN for Kenya; 'XXX' is none"),
        ("", "such as KEN for Kenya; '' is none"),
        ("US-CA", "such as KEN for Kenya; 'US-CA' is none"),
        ("🇰🇪", "KEN for Kenya"),
    ],
)
def test_others_are_refused_and_the_right_one_is_named(said: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"three capital letters.*{re.escape(meant)}"):
        checked_country(said)


def test_long_nonsense_is_not_echoed_in_full() -> None:
    with pytest.raises(ValueError, match="capital letters") as caught:
        checked_country("x" * 100)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("country", "code"), [("USA", "CA"), ("USA", "DC"), ("USA", "PR"), ("CAN", "BC"), ("KEN", "30")]
)
def test_two_letter_divisions_are_taken(country: str, code: str) -> None:
    assert checked_region(country, code) == code


@pytest.mark.parametrize(
    ("country", "said", "meant"),
    [
        ("USA", "California", "CA for California, not 'California'"),
        ("USA", "ca", "CA for California"),
        ("USA", "US-CA", "CA for California"),
        ("USA", "XX", "such as CA for California with USA; USA has no 'XX'"),
        ("USA", "", "USA has no ''"),
        ("CAN", "CA", "CAN has no 'CA'"),
        ("CAN", "british columbia", "BC for British Columbia"),
        ("AUS", "NSW", "AUS has no 'NSW'"),
        ("ATA", "AA", "ATA has no 'AA'"),
    ],
)
def test_other_divisions_are_refused(country: str, said: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"admin1_region is two letters.*{re.escape(meant)}"):
        checked_region(country, said)


def test_every_code_of_two_letters_has_one_of_three_but_kosovos() -> None:
    assert all(alpha_3(each.alpha_2) == each.alpha_3 for each in pycountry.countries)
    assert alpha_3("XK") is None


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("California", "CA"),
        ("New York", "NY"),
        ("District of Columbia", "DC"),
        ("Nairobi Area", None),
        ("", None),
    ],
)
def test_states_by_name(name: str, code: str | None) -> None:
    assert state_code(name) == code


def test_territories_are_divisions_and_countries_of_one_code_and_name() -> None:
    """California and Canada share a code and are none."""
    for code in TERRITORIES_OF_USA:
        division = next(each for each in pycountry.subdivisions if each.code == f"US-{code}")
        assert division.name == pycountry.countries.get(alpha_2=code).name
        assert division.type == "Outlying area"
    assert not TERRITORIES_OF_USA & {"CA", "PA", "IL", "CO"}


def test_the_shorter_name_in_use_is_shown() -> None:
    assert country_name("BOL") == "Bolivia"
    assert country_name("KEN") == "Kenya"
