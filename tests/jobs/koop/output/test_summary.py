"""How a download stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from stored import MODEL, MONDAY, ONE_DAY, ended_day, placement, record

from sightline.jobs.koop.lifecycle import Item, ItemKind, ItemState
from sightline.jobs.koop.output.summary import status_of, summarized
from sightline.jobs.koop.store.documents import Documents
from sightline.jobs.koop.store.state import Day, DayState, State


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State(tmp_path / "koop.sqlite") as opened:
        yield opened


def test_days_and_images_of_a_range_are_counted(state: State) -> None:
    ended_day(state, MONDAY, {"a": ["1.png", "2.png"]})
    ended_day(state, MONDAY + ONE_DAY, {"b": ["3.png"]}, wanted=False)
    summary = summarized(state, MONDAY, MONDAY + ONE_DAY)
    assert (summary.days, summary.publications, summary.is_sound) == ({"complete": 2}, 2, True)
    assert summary.items == {"kept": 2, "rejected": 1}
    assert summary.as_text() == (
        "2024-01-15 to 2024-01-16: days: 2 complete; 2 decisions; images: 2 kept, 1 rejected"
    )
    assert summarized(state, MONDAY, MONDAY).items == {"kept": 2}


def test_an_empty_range_has_words_too(state: State) -> None:
    assert summarized(state, MONDAY, MONDAY).as_text() == (
        "2024-01-15 to 2024-01-15: days: none; 0 decisions; images: none"
    )


def test_days_that_failed_are_listed_with_what_failed(state: State) -> None:
    state.save_day(Day(MONDAY, "available", DayState.FAILED, error="the search said no"))
    documents = Documents(state)
    documents.add(MONDAY + ONE_DAY, [record("a")])
    documents.place("a", [placement("x.png")])
    documents.save(
        Item("https://reader.example/x.png", ItemKind.ILLUSTRATION, ItemState.FAILED, error="torn")
    )
    state.save_day(Day(MONDAY + ONE_DAY, "available", DayState.PARTIAL, error="1 file failed"))
    summary = summarized(state, MONDAY, MONDAY + 5 * ONE_DAY)
    assert (summary.failed_days, summary.is_sound) == (2, False)
    assert [(each.date, each.error, each.troubles) for each in summary.unsound] == [
        (MONDAY, "the search said no", ()),
        (MONDAY + ONE_DAY, "1 file failed", (("https://reader.example/x.png", "torn"),)),
    ]
    written = json.loads(json.dumps(summary.as_json()))
    assert status_of(state).as_json()["unsound"] == written["unsound"]
    assert written["unsound"][1]["troubles"] == [{"what": "https://reader.example/x.png", "why": "torn"}]


def test_a_decade_of_failures_is_counted_and_its_beginning_listed(state: State) -> None:
    with state.transaction():
        for number in range(3000):
            state.save_day(Day(MONDAY + number * ONE_DAY, "available", DayState.FAILED, error="no"))
    summary = summarized(state, MONDAY, MONDAY + 5000 * ONE_DAY)
    assert (summary.failed_days, len(summary.unsound)) == (3000, 100)


def test_a_folder_is_summed_up(state: State) -> None:
    assert status_of(state).as_json()["first"] is None
    ended_day(state, MONDAY, {"a": ["1.png"]})
    state.save_day(replace(Day(MONDAY + ONE_DAY, "available", DayState.EMPTY), provisional=True))
    learned = {"rate_per_s": 0.41237, "tokens": 3.0, "at_unix_s": 1.0, "paused_until_unix_s": 0.0}
    state.put("learned_rates", {"https://host.example": learned})
    status = status_of(state)
    assert (status.first, status.last) == ("2024-01-15", "2024-01-16")
    assert (status.days, status.provisional_days) == ({"complete": 1, "empty": 1}, 1)
    assert (status.verdicts, status.disk_bytes) == ({MODEL: 1}, 7)
    assert status.rates_per_s == {"https://host.example": 0.412}
