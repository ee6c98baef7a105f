"""Statuses, Retry-After in all its forms, and waiting times."""

from __future__ import annotations

import email.utils
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sightline.jobs.koop.polite import PolitenessPolicy
from sightline.jobs.koop.polite.retry import Answer, backoff_s, meaning_of, retry_after_s

NOW_UNIX_S = 1_700_000_000.0
MAX_S = 600.0


def after(value: str | None) -> float | None:
    return retry_after_s(value, unix_s=NOW_UNIX_S, max_s=MAX_S)


@pytest.mark.parametrize(
    ("statuses", "meaning"),
    [
        ((200, 203), Answer.GOOD),
        ((301, 302, 303, 307, 308), Answer.REDIRECT),
        ((404, 410), Answer.GONE),
        ((400, 401, 403, 405, 406, 451, 300, 304, 501, 505), Answer.REFUSED),
        ((429, 503), Answer.TOO_MUCH),
        ((408, 425, 204, 206), Answer.LATER),
        ((500, 502, 504, 520, 599), Answer.ILL),
    ],
)
def test_what_a_status_means(statuses, meaning):
    assert {meaning_of(status) for status in statuses} == {meaning}


@given(st.integers(100, 999))
def test_every_status_means_something(status):
    assert isinstance(meaning_of(status), Answer)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("1", 1),
        (" 17 ", 17),
        ("007", 7),
        ("600", 600),
        ("601", 600),
        ("86400", 600),
        ("9" * 5000, 600),
    ],
)
def test_seconds(value, seconds):
    assert after(value) == seconds


@pytest.mark.parametrize(("ahead_s", "seconds"), [(0, 0), (90, 90), (-3600, 0), (599, 599), (86400, 600)])
def test_a_date(ahead_s, seconds):
    assert after(email.utils.formatdate(NOW_UNIX_S + ahead_s, usegmt=True)) == seconds


def test_dates_in_the_two_older_forms_and_without_a_zone():
    assert after("Tuesday, 14-Nov-23 22:14:20 GMT") == 60
    assert after("Tue, 14 Nov 2023 22:14:20") == 60
    assert after("Tue, 14 Nov 2023 23:14:20 +0100") == 60


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "  ",
        "soon",
        "-5",
        "+5",
        "1.5",
        "1e3",
        "0x10",
        "٣",
        "5 s",
        "5, 6",
        "nan",
        "inf",
        "Tue, 99 Nov 2023",
    ],
)
def test_garbage_is_ignored(value):
    assert after(value) is None


@given(st.one_of(st.text(), st.integers().map(str), st.datetimes().map(email.utils.format_datetime)))
@example("Mon, 01 Jan 0001 00:00:00 +2400")
@example("Mon, 01 Jan 99999 00:00:00 GMT")
@example("1 2 3 4 5 6")
def test_no_header_breaks_it_or_makes_it_wait_too_long(value):
    seconds = after(value)
    assert seconds is None or 0 <= seconds <= MAX_S


@given(st.integers(0, 10**9))
def test_seconds_are_what_they_say_up_to_the_bound(seconds):
    assert after(str(seconds)) == min(seconds, MAX_S)


@given(st.integers(-(10**8), 10**8))
def test_dates_are_what_they_say_up_to_the_bound(ahead_s):
    value = email.utils.formatdate(NOW_UNIX_S + ahead_s, usegmt=True)
    assert after(value) == min(max(ahead_s, 0), MAX_S)


def test_backoff_is_anywhere_up_to_a_bound_that_doubles():
    policy, rng = (
        PolitenessPolicy("https://example.org/about", backoff_s=2.0, max_backoff_s=20.0),
        random.Random(1),
    )
    for retry, bound_s in enumerate([2, 4, 8, 16, 20, 20]):
        waits = [backoff_s(retry, policy, rng) for _ in range(500)]
        assert 0 <= min(waits) < 0.1 * bound_s
        assert 0.9 * bound_s < max(waits) <= bound_s
    assert backoff_s(10_000, policy, rng) <= 20
