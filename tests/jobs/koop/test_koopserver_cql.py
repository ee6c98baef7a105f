"""Queries, as the loopback service understands them."""

from __future__ import annotations

from contextlib import suppress
from datetime import date

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from koopserver import KoopServer
from koopserver.cql import SyntaxProblem, bounds, matches, parse
from lxml import etree

VALUES = {
    "dt.type": ("verkeersbesluit of -mededeling",),
    "dt.title": ("Proefweg 12, verkeersmaatregelen gemeente Teststad",),
    "dt.available": ("2024-06-03",),
    "dt.creator": ("Teststad",),
    "c.product-area": ("officielepublicaties",),
    "w.gemeentenaam": (),
}
# The first downloader's own query, line breaks and the value's trailing space included.
ORIGINAL = """
    (c.product-area==officielepublicaties AND
     dt.available>=2024-06-03 AND dt.available<=2024-06-03 AND
     dt.type = "verkeersbesluit " AND cql.allRecords =1 )
"""


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('dt.type any "verkeersbesluit"', True),
        ('dt.type any "iets verkeersbesluit"', True),
        ('dt.type all "verkeersbesluit besluit"', False),
        ('dt.type all "of verkeersbesluit"', True),
        ('dt.type=="verkeersbesluit"', False),
        ('dt.type=="Verkeersbesluit of -mededeling"', True),
        ('dt.type = "verkeersbesluit "', True),
        ('dt.type = "verkeersbesluit of"', True),
        ('dt.type = "of verkeersbesluit"', False),
        ("dt.available==2024-06-03", True),
        ("dt.available>2024-06-03", False),
        ("dt.available >= 2024-06-03 and dt.available <= 2024-06-03", True),
        ("dt.available<2024-06-03", False),
        ("dt.available<>2024-06-03", False),
        ("w.gemeentenaam==Teststad", False),
        ("cql.allRecords=1", True),
        ("cql.allRecords=1 NOT dt.title any proefweg", False),
        ("cql.allRecords=1 NOT dt.title any anderweg", True),
        # From left to right: (a OR b) AND c, and no precedence of AND.
        ("dt.creator==Teststad OR dt.creator==Nergens AND dt.creator==Nergens", False),
        ("dt.creator==Teststad OR (dt.creator==Nergens AND dt.creator==Nergens)", True),
        ("dt.creator==Teststad sortBy dt.available /sort.ascending", True),
        (ORIGINAL, True),
    ],
)
def test_what_a_query_means(query: str, found: bool) -> None:
    assert matches(parse(query), VALUES) is found


@pytest.mark.parametrize(
    "query",
    [
        "", "dt.title", "dt.title ==", "dt.title is Proefweg", "a==1 b==2", "a==1 AND", "(a==1", "a==1)",
        "AND a==1", 'a=="unended', "a == == b", "a==(b)",
    ],
)  # fmt: skip
def test_what_is_no_query(query: str) -> None:
    with pytest.raises(SyntaxProblem):
        parse(query)


@given(st.text(max_size=40))
def test_any_text_is_a_query_or_a_syntax_problem(text: str) -> None:
    with suppress(SyntaxProblem):
        matches(parse(text), VALUES)


@given(st.text(st.characters(exclude_characters='"\\', exclude_categories=["Cs", "Cc"]), min_size=1))
def test_a_quoted_value_is_taken_whole(value: str) -> None:
    assert parse(f'dt.title=="{value}"') == parse(f'( dt.title == "{value}" )')
    assert matches(parse(f'dt.title=="{value}"'), {"dt.title": (value.upper().lower(),)}) == (
        value.lower() == value.upper().lower()
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a==5", ("5", "5")),
        ("a>=3 AND a<=7", ("3", "7")),
        ("a>=3 AND b==1", ("3", "~")),
        ("a==3 OR a==9", ("3", "9")),
        ("b==1 NOT a==3", ("", "~")),
    ],
)
def test_between_what_values_an_answer_can_lie(query: str, expected: tuple[str, str]) -> None:
    assert bounds(parse(query), "a") == expected


# -- over HTTP ---------------------------------------------------------------------------------------------


def ask(koop: KoopServer, query: str) -> tuple[list[str], list[str], list[str]]:
    """Counts, identifiers and diagnostics of an answer."""
    with httpx2.Client(timeout=5, trust_env=False) as client:
        root = etree.fromstring(
            client.get(koop.search_url, params={"query": query}).raise_for_status().content
        )
    return tuple(  # type: ignore[return-value]
        [each.text or "" for each in root.iter(f"{{*}}{name}")]
        for name in ("numberOfRecords", "identifier", "uri")
    )


def test_a_syntax_error_is_a_200_with_a_diagnostic_and_no_count(koop: KoopServer) -> None:
    assert ask(koop, "dt.type==a dt.title==b") == ([], [], ["info:srw/diagnostic/1/10"])


def test_an_unknown_index_finds_nothing_and_says_nothing(koop: KoopServer) -> None:
    query = "dt.available==2024-06-03 AND dt.nonsense==1"
    assert ask(koop, query) == (["0"], [], [])
    koop.unknown_index = "diagnostic"
    assert ask(koop, query) == ([], [], ["info:srw/diagnostic/1/16"])


def test_a_missing_query_is_a_diagnostic(koop: KoopServer) -> None:
    with httpx2.Client(timeout=5, trust_env=False) as client:
        assert b"diagnostic/1/7" in client.get(koop.search_url).content


def test_the_rubric_is_found_by_its_word_and_not_as_a_whole(koop: KoopServer) -> None:
    day = " AND dt.available==2024-06-03"
    assert ask(koop, 'dt.type=="verkeersbesluit"' + day)[0] == ["0"]
    assert ask(koop, 'dt.type any "verkeersbesluit"' + day)[0] == ["3"]
    assert ask(koop, "c.product-area==officielepublicaties" + day)[0] == ["4"]
    assert ask(koop, ORIGINAL)[0] == ["3"]


def test_by_last_change_other_days_come_up(koop: KoopServer) -> None:
    changed = [
        each.identifier
        for each in koop.decisions(date(2024, 5, 1), date(2024, 6, 3))
        if each.modified == date(2024, 6, 3)
    ]
    counts, found, _ = ask(koop, 'dt.type any "verkeersbesluit" AND dt.modified==2024-06-03')
    assert found == changed
    assert counts == [str(len(changed))]
    assert any(not identifier.startswith("gmb-2024-155") for identifier in found)
