"""What a run is asked to do, and what follows from it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from stored import MONDAY, ONE_DAY, placement

from sightline.errors import InvalidRequest
from sightline.jobs.koop.archive.query import DateField, Exclusions
from sightline.jobs.koop.lifecycle import Keep
from sightline.jobs.koop.run.options import Options

USUAL = Options(MONDAY, MONDAY + 2 * ONE_DAY, today=dt.date(2026, 1, 1))


def test_days_go_forward_or_back() -> None:
    assert [date.day for date in USUAL.dates()] == [15, 16, 17]
    assert [date.day for date in replace(USUAL, newest_first=True).dates()] == [17, 16, 15]
    assert USUAL.number_of_days == 3


def test_days_to_come_are_left_out() -> None:
    early = replace(USUAL, today=MONDAY + ONE_DAY)
    assert [date.day for date in early.dates()] == [15, 16]
    assert early.number_of_days == 2


def test_a_millennium_is_not_listed() -> None:
    dates = replace(USUAL, last=dt.date(2999, 1, 1), today=dt.date.max).dates()
    assert next(dates) == MONDAY


@pytest.mark.parametrize(("days_ago", "provisional"), [(0, True), (2, True), (3, False), (400, False)])
def test_recent_days_are_provisional(days_ago: int, provisional: bool) -> None:
    assert USUAL.is_provisional(USUAL.today - days_ago * ONE_DAY) is provisional


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"in_head": True}, "a logo"),
        ({"width_mm": 15.0}, "printed 15 mm wide, less than 25 mm"),
        ({"width_mm": 25.0}, None),
        ({"width_mm": None}, None),
    ],
)
def test_small_pictures_and_logos_are_skipped(changes: dict[str, Any], reason: str | None) -> None:
    assert USUAL.skip_reason(placement("x.png", **changes)) == reason
    everything = replace(USUAL, logos=True, min_width_mm=0)
    assert everything.skip_reason(placement("x.png", **changes)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"keep": Keep.ALL}, {"dry_run": True}, {"logos": True}, {"min_width_mm": 1.0}, {"attachments": False},
        {"keep_dpi": 72.0}, {"look_dpi": 72.0}, {"max_pages": 1},
    ],
)  # fmt: skip
def test_what_decides_on_images_is_in_the_terms(changes: dict[str, Any]) -> None:
    assert replace(USUAL, **changes).terms("m") != USUAL.terms("m")
    assert USUAL.terms("m") != USUAL.terms("n")
    assert USUAL.terms(None) != USUAL.terms("m")


@pytest.mark.parametrize(
    "changes", [{"first": MONDAY - ONE_DAY}, {"newest_first": True}, {"retry_failed": True}, {"at_once": 1}]
)
def test_what_does_not_decide_is_not(changes: dict[str, Any]) -> None:
    assert replace(USUAL, **changes).terms("m") == USUAL.terms("m")


def test_another_question_has_another_hash() -> None:
    modified = replace(USUAL, field=DateField.MODIFIED)
    excluding = replace(USUAL, exclusions=Exclusions(words=("parkeren",)))
    assert len({each.query_hash(MONDAY) for each in (USUAL, modified, excluding)}) == 3
    assert USUAL.query_hash(MONDAY) != USUAL.query_hash(MONDAY + ONE_DAY)
    with pytest.raises(InvalidRequest):
        USUAL.query_hash(dt.date(1700, 1, 1))
