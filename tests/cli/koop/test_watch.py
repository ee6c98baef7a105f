"""How events are shown: a day, a silence, and its end."""

from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from sightline.commands.koop.watch import Watch, day_line, silence_line
from sightline.jobs.koop.polite import Doing, Silence
from sightline.jobs.koop.run.progress import Answered, DayEnded, Silent
from sightline.jobs.koop.store.state import DayState

SINCE_UNIX_S = 1_700_000_000.0
ORIGIN = "https://archive.example"
PAUSED = Silence(ORIGIN, SINCE_UNIX_S, 20.0, Doing.RETRY_AFTER, SINCE_UNIX_S + 400, "it answered HTTP 429")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lasting(silence: Silence, for_s: float, **changes: Any) -> Silent:
    return Silent(replace(silence, for_s=for_s, **changes))


def test_programs_get_a_line_per_minute_and_per_change(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch(3)
    for for_s in range(20, 170, 5):
        watch(lasting(PAUSED, for_s))
    watch(lasting(PAUSED, 175, doing=Doing.ASKING, until_unix_s=None))
    watch(Answered(ORIGIN, 180.4))
    watch(lasting(PAUSED, 15))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["event"], each.get("for_s"), each.get("doing")) for each in lines] == [
        ("waiting", 20, "retry-after"), ("waiting", 80, "retry-after"), ("waiting", 140, "retry-after"),
        ("waiting", 175, "asking"), ("answered", None, None), ("waiting", 15, "retry-after"),
    ]  # fmt: skip
    first = {name: lines[0][name] for name in ("host", "since", "until", "reason")}
    assert first == {
        "host": ORIGIN, "since": "2023-11-14T22:13:20+00:00", "until": "2023-11-14T22:20:00+00:00",
        "reason": "it answered HTTP 429",
    }  # fmt: skip
    assert (lines[3]["until"], lines[4]["host"], lines[4]["after_s"]) == (None, ORIGIN, 180)


DAY = DayEnded(
    date(2024, 1, 15), DayState.COMPLETE, 2, 2, 5, 3, 0, None, provisional=True, requests_per_s=0.85, days=1,
    of_days=1, eta_s=0.0, absent=1,
)  # fmt: skip


def test_decisions_that_are_found_no_more_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert day_line(DAY).startswith("2024-01-15 (provisional) 2/2 decisions (1 no longer found), 5 images")
    assert day_line(replace(DAY, absent=0)).startswith("2024-01-15 (provisional) 2/2 decisions, 5 images")
    Watch(of_days=1)(DAY)
    assert json.loads(capsys.readouterr().out)["absent"] == 1


def test_people_see_whom_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Watch(3) as watch:
        for for_s in range(20, 200, 5):
            watch(lasting(PAUSED, for_s))
        watch(Answered(ORIGIN, 200.0))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert shown.count("archive.example has given no answer since") == 1  # the bar has the rest
    assert "archive.example answers again, after 3min" in shown


@pytest.mark.parametrize(
    ("doing", "until_unix_s", "said"),
    [
        (Doing.ASKING, None, r": a request is under way$"),
        (Doing.RETRY_AFTER, SINCE_UNIX_S, r": left alone, as it asks until \d\d:\d\d:\d\d$"),
        (Doing.PAUSING, SINCE_UNIX_S, r": left alone, as it had too much until "),
        (Doing.LEAVING_ALONE, SINCE_UNIX_S, r": left alone after failing so often until "),
        (Doing.BACKING_OFF, SINCE_UNIX_S, r": tried again at \d\d:\d\d:\d\d$"),
        (Doing.IN_TURN, None, r": asked in turn$"),
    ],
)
def test_a_silence_in_one_line(doing: Doing, until_unix_s: float | None, said: str) -> None:
    line = silence_line(replace(PAUSED, doing=doing, until_unix_s=until_unix_s))
    assert re.match(r"archive\.example has given no answer since \d\d:\d\d:\d\d, 20s ago \(it answ", line)
    assert re.search(said, line)
    assert "()" not in silence_line(replace(PAUSED, reason=None))
