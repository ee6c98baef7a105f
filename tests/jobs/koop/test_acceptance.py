"""What a download must live through, against servers that misbehave as the real ones have."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from koopserver import KoopServer, Rate, faults, pdf, quirks
from rig import CountingClassifier, Rig, hastened

from sightline.jobs.koop.store.state import DayState

FIRST = date(2024, 6, 3)
Start = Callable[..., KoopServer]
NewRig = Callable[..., Rig]


@pytest.fixture
def rig(koop: KoopServer, tmp_path: Path) -> Rig:
    return Rig(koop, tmp_path / "out")


def expected_blobs(koop: KoopServer, first: date, last: date) -> int:
    """Different pictures wide enough to be fetched, which the counting judge wants."""
    return len(
        {
            image.content()
            for decision in koop.decisions(first, last)
            for image in decision.illustrations
            if not image.in_head and image.width == "160mm"
        }
    )


# -- days --------------------------------------------------------------------------------------------------


async def test_a_broken_day_among_thirty_stays_alone_and_heals(rig: Rig) -> None:
    last = FIRST + timedelta(days=29)
    seventh = FIRST + timedelta(days=6)
    rig.koop.fail(f'dt.available=="{seventh}"', faults.status(500), times=math.inf)
    ended = await rig.run(FIRST, last)
    assert Counter(each.state for each in ended) == {DayState.COMPLETE: 29, DayState.FAILED: 1}
    failed = rig.days()[seventh]
    assert failed.state is DayState.FAILED
    assert "500" in (failed.error or "")
    assert {line["day"] for line in rig.manifest()} == {str(day) for day in rig.days()} - {str(seventh)}

    rig.koop.heal()
    before = len(rig.koop.log)
    (healed,) = await rig.run(FIRST, last)  # a day whose search failed is searched again by the next run
    assert (healed.date, healed.state) == (seventh, DayState.COMPLETE)
    assert set(rig.states()) == {"complete"}
    again = {each.url for each in rig.koop.log[before:]}
    assert not again & {each.url for each in rig.koop.log[:before] if each.status == 200}
    assert [line["day"] for line in rig.manifest()] == sorted(line["day"] for line in rig.manifest())
    assert len(rig.blobs()) == expected_blobs(rig.koop, FIRST, last)


async def test_a_day_is_asked_for_once_and_politely(rig: Rig) -> None:
    await rig.run(FIRST, FIRST + timedelta(days=4))
    assert len(rig.koop.requests("/sru")) == 5
    assert all("+https://example.org/tests" in each.user_agent for each in rig.koop.log)
    assert max(Counter(each.url for each in rig.koop.log).values()) == 1


async def test_a_day_of_2150_is_read_to_the_end(koop_server: Start, tmp_path: Path) -> None:
    koop = koop_server(decisions_per_day={FIRST: 2150})
    koop.alter("gmb", quirks.bare)
    rig = Rig(koop, tmp_path / "out")
    (ended,) = await rig.run(FIRST, at_once=8)
    assert (ended.state, ended.publications, ended.of_publications) == (DayState.COMPLETE, 2150, 2150)
    assert len({line["publication"] for line in rig.manifest()}) == 2150
    assert len(koop.requests("/sru")) == 3


@pytest.mark.parametrize("decisions", [0, 1, 900, 901])
async def test_days_around_a_page(decisions: int, koop_server: Start, tmp_path: Path) -> None:
    koop = koop_server(decisions_per_day={FIRST: decisions})
    koop.alter("gmb", lambda decision: quirks.bare(quirks.pdf_only(decision)))
    koop.fail(r"\.pdf$", faults.not_found, times=math.inf)  # only the search is of interest
    rig = Rig(koop, tmp_path / "out")
    (ended,) = await rig.run(FIRST, at_once=8)
    assert ended.state is (DayState.COMPLETE if decisions else DayState.EMPTY)
    assert ended.of_publications == ended.publications == decisions
    assert len(koop.requests(f"/sru.*{FIRST}")) == (2 if decisions > 900 else 1)


async def test_drifting_records_are_counted_once(koop_server: Start, tmp_path: Path) -> None:
    koop = koop_server(decisions_per_day={FIRST: 901})
    koop.alter("gmb", lambda decision: quirks.bare(quirks.pdf_only(decision)))
    koop.fail(r"\.pdf$", faults.not_found, times=math.inf)
    koop.drifting = True
    rig = Rig(koop, tmp_path / "out")
    (ended,) = await rig.run(FIRST, at_once=8)
    assert (ended.state, ended.publications) == (DayState.COMPLETE, 901)


async def test_a_count_that_is_never_reached_makes_a_day_partial(rig: Rig) -> None:
    rig.koop.count_error = 1
    (ended,) = await rig.run(FIRST)
    assert ended.state is DayState.PARTIAL
    assert "counts 4 records and gave 3" in (ended.error or "")
    assert len({line["publication"] for line in rig.manifest()}) == 3
    rig.koop.count_error = 0
    (healed,) = await rig.run(FIRST, retry_failed=True)
    assert healed.state is DayState.COMPLETE


async def test_pages_without_a_next_position_are_followed(koop_server: Start, tmp_path: Path) -> None:
    koop = koop_server(decisions_per_day={FIRST: 905})
    koop.alter("gmb", lambda decision: quirks.bare(quirks.pdf_only(decision)))
    koop.fail(r"\.pdf$", faults.not_found, times=math.inf)
    koop.without_next = True
    (ended,) = await Rig(koop, tmp_path / "out").run(FIRST, at_once=8)
    assert (ended.state, ended.publications) == (DayState.COMPLETE, 905)


async def test_a_service_that_sends_back_to_the_same_page_fails_the_day(
    koop_server: Start, tmp_path: Path
) -> None:
    koop = koop_server(decisions_per_day={FIRST: 905})
    koop.stuck_next = True
    (ended,) = await Rig(koop, tmp_path / "out").run(FIRST)
    assert ended.state is DayState.FAILED
    assert len(koop.requests("/sru")) == 1


# -- nothing is taken for an answer that is none -----------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [faults.cut(0.3), faults.cut(0.95), faults.short(), faults.html, faults.tag_soup, faults.bad_gzip],
)
async def test_a_page_that_is_not_whole_never_counts(fault: faults.Fault, rig: Rig) -> None:
    rig.koop.fail("/sru", fault, times=math.inf)
    (ended,) = await rig.run(FIRST)
    assert (ended.state, ended.of_publications) == (DayState.FAILED, 0)
    rig.koop.heal()
    rig.koop.fail("/sru", fault, times=2)
    (ended,) = await rig.run(FIRST, retry_failed=True)
    assert (ended.state, ended.publications) == (DayState.COMPLETE, 3)


async def test_an_empty_answer_is_asked_for_in_smaller_pieces(koop_server: Start, tmp_path: Path) -> None:
    koop = koop_server(decisions_per_day={FIRST: 30})
    koop.alter("gmb", quirks.bare)
    koop.fail("maximumRecords=(900|450|225|112|56)&", faults.empty, times=math.inf)
    (ended,) = await Rig(koop, tmp_path / "out").run(FIRST)
    assert (ended.state, ended.publications) == (DayState.COMPLETE, 30)
    assert len(koop.requests("maximumRecords=28&")) == 2


async def test_an_empty_day_is_told_from_a_broken_index(rig: Rig) -> None:
    rig.koop.archive.per_day = {FIRST: 0}
    (ended,) = await rig.run(FIRST)
    assert ended.state is DayState.EMPTY
    assert len(rig.koop.requests("2023-10-27")) == 1

    rig.koop.archive.per_day = 0  # nothing at all, without an error: the index is broken
    ended = await rig.run(FIRST + timedelta(days=1), FIRST + timedelta(days=3))
    assert [each.state for each in ended] == [DayState.FAILED] * 3
    assert all("2023-10-27" in (each.error or "") for each in ended)
    assert len(rig.koop.requests("2023-10-27")) == 2  # once a run

    rig.koop.archive.per_day = 1
    healed = await rig.run(FIRST + timedelta(days=1), FIRST + timedelta(days=3), retry_failed=True)
    assert [each.state for each in healed] == [DayState.COMPLETE] * 3


@pytest.mark.parametrize(("number", "requests"), [(10, 1), (16, 1), (66, 1), (1, 6), (2, 6)])
@pytest.mark.parametrize("version", ["2.0", "1.2"])
async def test_diagnostics_fail_the_day_at_once_or_after_retries(
    number: int, requests: int, version: str, rig: Rig
) -> None:
    rig.koop.fail("/sru", faults.diagnostic(number, "told so", version=version), times=math.inf)
    (ended,) = await rig.run(FIRST)
    assert ended.state is DayState.FAILED
    assert "told so" in (ended.error or "")
    assert len(rig.koop.requests("/sru")) == requests


# -- policy -----------------------------------------------------------------------------------------------


async def test_a_storm_of_429s_loses_nothing_and_ends(koop_server: Start, tmp_path: Path) -> None:
    clock = hastened(400)
    koop = koop_server(rate=Rate(burst=20, per_s=0.2), clock=clock.now_s)
    koop.alter("gmb", lambda decision: quirks.illustrated("map")(quirks.bare(decision)))
    last = FIRST + timedelta(days=39)
    rig = Rig(koop, tmp_path / "out", clock=clock)
    ended = await rig.run(FIRST, last)
    assert {each.state for each in ended} == {DayState.COMPLETE}
    assert len(rig.blobs()) == 120
    reader = [each for each in koop.log if each.role == "reader"]
    assert len([each for each in reader if each.status == 200]) == 240
    refused = [each.status == 429 for each in reader]
    assert any(refused), "the servers were not strict enough to show anything"
    # It has learned what the host bears.
    assert sum(refused[len(refused) // 2 :]) <= 0.1 * len(refused) / 2


async def test_the_measured_service_never_says_429(koop_server: Start, tmp_path: Path) -> None:
    clock = hastened(400)
    koop = koop_server(rate=Rate(burst=115, per_s=1.0), clock=clock.now_s)
    rig = Rig(koop, tmp_path / "out", clock=clock)
    ended = await rig.run(FIRST, FIRST + timedelta(days=29))
    assert {each.state for each in ended} == {DayState.COMPLETE}
    assert len(koop.log) > 200
    assert koop.requests(status=429) == []


@pytest.mark.parametrize("retry_after", ["7", "Sat, 14 Jun 2025 20:06:40 GMT", "garbage", "-3", "86400"])
async def test_any_retry_after_is_lived_with(retry_after: str, rig: Rig) -> None:
    rig.koop.fail(r"\.xml", faults.too_many(retry_after), times=2)
    (ended,) = await rig.run(FIRST)
    assert (ended.state, ended.publications) == (DayState.COMPLETE, 3)


async def test_resets_and_errors_on_the_way_cost_nothing_but_time(rig: Rig) -> None:
    for fault in (faults.status(502), faults.reset(), faults.short(), faults.status(503), faults.bad_gzip):
        rig.koop.fail(r"\.(xml|png|jpg)", fault)
    (ended,) = await rig.run(FIRST)
    assert (ended.state, ended.failed) == (DayState.COMPLETE, 0)


# -- judged once -------------------------------------------------------------------------------------------


async def test_one_pdf_in_fifty_decisions_is_judged_once(koop_server: Start, tmp_path: Path) -> None:
    koop = koop_server(decisions_per_day=25)
    same = pdf.pdf("text", "map", seed=4)
    koop.alter("gmb", lambda decision: quirks.attached(same)(quirks.bare(decision)))
    judge = CountingClassifier()
    rig = Rig(koop, tmp_path / "out", judge)
    ended = await rig.run(FIRST, FIRST + timedelta(days=1), at_once=8)
    assert [each.state for each in ended] == [DayState.COMPLETE] * 2
    assert len(judge.seen) == 1
    lines = rig.manifest()
    assert len({line["publication"] for line in lines}) == 50
    assert {(line["page"], line["sha256"]) for line in lines} == {(1, judge.seen[0]), (2, judge.seen[0])}
    assert rig.query("SELECT count(*) FROM verdicts") == [(2,)]

    await rig.run(FIRST + timedelta(days=2))
    assert len(judge.seen) == 1, "another run remembers"
    again = CountingClassifier(model="another")
    rig.judge = again
    fetched = len(koop.requests("/bijlage/"))
    await rig.run(FIRST, FIRST + timedelta(days=2))
    assert len(again.seen) <= 1, "a new model looks once at what is still here"
    assert len(koop.requests("/bijlage/")) - fetched <= 1
