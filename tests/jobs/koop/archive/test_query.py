"""Questions that cannot be turned into others by what stands in them."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from koopserver.cql import parse

from sightline.errors import InvalidRequest
from sightline.jobs.koop.archive.query import (
    EARLIEST,
    DateField,
    Exclusions,
    day_query,
    parse_day,
    quote,
    require_day,
    require_range,
    since_query,
)

DAY = date(2024, 1, 15)
WORDS = st.text(min_size=1).filter(lambda text: any(map(str.isalnum, text)))


def test_a_day_of_publication():
    assert day_query(DAY) == (
        'c.product-area==officielepublicaties AND dt.type any "verkeersbesluit" '
        'AND dt.available=="2024-01-15"'
    )


def test_a_day_of_change():
    assert day_query(DAY, DateField.MODIFIED).endswith(' AND dt.modified=="2024-01-15"')
    assert since_query(DAY, DateField.MODIFIED).endswith(' AND dt.modified>="2024-01-15"')


def test_exclusions_by_word_and_by_kind_of_decision():
    query = day_query(DAY, exclusions=Exclusions(("laadpaal", "gehandicapten"), ("opladen elektrische",)))
    assert query.removeprefix(day_query(DAY)) == (
        ' NOT dt.title any "laadpaal gehandicapten" NOT dt.alternative any "laadpaal gehandicapten"'
        ' NOT w.typeVerkeersbesluit all "opladen elektrische"'
    )


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("Utrecht", '"Utrecht"'),
        ("  's-Gravenhage \t", '"\'s-Gravenhage"'),
        ('a" OR dt.type any "b', '"a OR dt.type any b"'),
        ("a\\", '"a"'),
        ("laad*", '"laad"'),
        ("a\x00b\nc", '"a b c"'),
    ],
)
def test_what_could_end_or_widen_a_term_is_taken_out(value, quoted):
    assert quote(value) == quoted


@pytest.mark.parametrize("value", ["", " ", '""', "*", "^?", "--", "\\"])
def test_a_term_without_letters_would_exclude_everything_or_nothing(value):
    with pytest.raises(InvalidRequest, match="no letter or digit"):
        day_query(DAY, exclusions=Exclusions(words=(value,)))


@given(WORDS)
def test_a_quoted_term_is_one_term(value):
    quoted = quote(value)
    inner = quoted[1:-1]
    assert quoted == f'"{inner}"'
    assert not set(inner) & set('"\\*?^')
    assert inner == " ".join(inner.split())
    # Letters and digits of any script are all still there, in their order.
    assert [c for c in inner if c.isalnum()] == [c for c in value if c.isalnum()]


@given(
    st.lists(WORDS, max_size=3), st.lists(WORDS, max_size=3), st.dates(EARLIEST), st.sampled_from(DateField)
)
def test_no_exclusion_adds_a_clause(words, kinds, day, field):
    query = day_query(day, field, Exclusions(words, kinds))
    outside = "".join(query.split('"')[::2])
    assert query.count('"') % 2 == 0
    assert outside.count(" NOT ") == 2 * bool(words) + len(kinds)
    assert outside.count(" AND ") == 2
    assert " OR " not in outside
    parse(query)  # the loopback service's own grammar takes it


def test_ends_of_time():
    require_day(EARLIEST)
    with pytest.raises(InvalidRequest, match="begins on 1995-01-01"):
        require_day(EARLIEST - timedelta(days=1))
    with pytest.raises(InvalidRequest, match="1700-06-01"):
        day_query(date(1700, 6, 1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "today",
        "2024-02-30",
        "2024-1-5",
        "15-01-2024",
        "20240115",
        "2024-W03-1",
        "2024-01-15T00:00",
        "٢٠٢٤-01-15",
    ],
)
def test_what_is_no_date(text):
    with pytest.raises(InvalidRequest, match="write YYYY-MM-DD"):
        parse_day(text)


@given(st.dates(EARLIEST))
def test_dates_are_read_as_written(day):
    assert parse_day(day.isoformat()) == day


def test_ranges():
    today = date(2024, 6, 1)
    require_range(DAY, DAY, today)
    require_range(DAY, today + timedelta(days=9), today)
    with pytest.raises(InvalidRequest, match="ends on 2024-01-14, before it begins on 2024-01-15"):
        require_range(DAY, DAY - timedelta(days=1), today)
    with pytest.raises(InvalidRequest, match="still to come"):
        require_range(today + timedelta(days=1), today + timedelta(days=2), today)
    with pytest.raises(InvalidRequest, match="too early"):
        require_range(date(1700, 1, 1), DAY, today)
