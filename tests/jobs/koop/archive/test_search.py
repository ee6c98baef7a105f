"""Days asked of the loopback service: whole, or with the reason why not."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import date, timedelta

import pytest
from koopclient import Jumping, client_of
from koopserver import KoopServer, Rate, faults, quirks

from sightline.errors import (
    ConfigurationError,
    DocumentRefused,
    DocumentUnavailable,
    InvalidRequest,
    SearchFailed,
)
from sightline.jobs.koop.archive.query import DateField, Exclusions, day_query
from sightline.jobs.koop.archive.search import CANARY_DAY, Search

DAY = date(2024, 6, 3)
Start = Callable[..., KoopServer]
Ask = Callable[..., Search]


@pytest.fixture
async def search_of() -> AsyncIterator[Ask]:
    """``search_of(koop, page_records=900, **policy)``"""
    clients = []

    def build(koop: KoopServer, page_records: int = 900, *, time: Jumping | None = None, **policy) -> Search:
        clients.append(client_of(koop, time, **{"burst": 1000, **policy}))
        return Search(clients[-1], koop.search_url, page_records=page_records)

    yield build
    for client in clients:
        await client.aclose()


def searches(koop: KoopServer) -> list[str]:
    return [each.url for each in koop.requests("/sru")]


# -- whole days --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("decisions", "requests"), [(0, 1), (1, 1), (95, 1), (900, 1), (901, 2), (2150, 3)])
async def test_a_day_is_read_to_its_end(decisions, requests, koop_server: Start, search_of: Ask):
    koop = koop_server(decisions_per_day={DAY: decisions})
    found = await search_of(koop).day(DAY)
    assert (found.number_of_records, found.unique_ids) == (decisions, decisions)
    assert [each.identifier for each in found.records] == [each.identifier for each in koop.decisions(DAY)]
    assert (found.complete, found.warnings) == (True, ())
    assert len(searches(koop)) == requests


async def test_only_traffic_decisions_of_that_day(koop: KoopServer, search_of: Ask):
    found = await search_of(koop).day(DAY)
    assert {each.available for each in found.records} == {DAY}
    assert {each.types for each in found.records} == {("verkeersbesluit of -mededeling",)}


async def test_the_day_of_the_last_change(koop: KoopServer, search_of: Ask):
    changed = [each for each in koop.decisions(DAY - timedelta(days=30), DAY) if each.modified == DAY]
    found = await search_of(koop).day(DAY, DateField.MODIFIED)
    assert {each.identifier for each in found.records} == {each.identifier for each in changed}
    assert (found.complete, found.warnings) == (True, ())


async def test_exclusions_are_the_services_work(koop_server: Start, search_of: Ask):
    koop = koop_server(decisions_per_day=40)
    street = koop.decisions(DAY)[0].title.split()[0]
    kind = koop.decisions(DAY)[0].measure
    wanted = [each for each in koop.decisions(DAY) if street not in each.title and each.measure != kind]
    found = await search_of(koop).day(DAY, exclusions=Exclusions((street,), (kind,)))
    assert 0 < len(wanted) < 40
    assert [each.identifier for each in found.records] == [each.identifier for each in wanted]


async def test_without_next_positions_the_count_leads(koop_server: Start, search_of: Ask):
    koop = koop_server(decisions_per_day={DAY: 95})
    koop.without_next = True
    found = await search_of(koop, 40).day(DAY)
    assert (found.unique_ids, found.complete, len(searches(koop))) == (95, True, 3)


async def test_a_service_that_gives_fewer_than_asked_is_followed(koop_server: Start, search_of: Ask):
    koop = koop_server(decisions_per_day={DAY: 95})
    koop.greatest_page = 30
    found = await search_of(koop).day(DAY)
    assert (found.unique_ids, found.complete, len(searches(koop))) == (95, True, 4)


async def test_records_that_come_twice_are_counted_once(koop_server: Start, search_of: Ask):
    koop = koop_server(decisions_per_day={DAY: 95})
    koop.drifting = True
    found = await search_of(koop, 40).day(DAY)
    assert (found.unique_ids, len(found.records), found.complete) == (95, 95, True)


@pytest.mark.parametrize(
    "quirk",
    [quirks.default_namespace, quirks.repeated_type, quirks.ampersand_in_title, quirks.without_available],
)
async def test_odd_records_are_records(quirk, koop: KoopServer, search_of: Ask):
    koop.alter("gmb", quirk)
    found = await search_of(koop).day(DAY)
    assert (found.unique_ids, found.complete, found.warnings) == (3, True, ())


# -- counts that do not fit --------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [1, -1])
async def test_a_count_that_stays_wrong_is_a_warning_and_no_complete_day(
    error, koop: KoopServer, search_of: Ask
):
    koop.count_error = error
    found = await search_of(koop).day(DAY)
    assert (found.unique_ids, found.complete) == (3, False)
    assert found.warnings == (f"the service counts {3 + error} records and gave 3",)
    assert sum("maximumRecords=0" in url for url in searches(koop)) == 1


async def test_a_page_that_is_named_is_read_though_the_count_has_ended(koop_server: Start, search_of: Ask):
    koop = koop_server(decisions_per_day={DAY: 901})
    koop.count_error = -1
    found = await search_of(koop).day(DAY)
    assert (found.unique_ids, found.complete) == (901, False)
    assert found.warnings == ("the service counts 900 records and gave 901",)


async def test_a_count_that_is_right_the_second_time_settles_it(koop: KoopServer, search_of: Ask):
    def off_by_one(request, response):
        body = response.body
        return replace(response, body=body.replace(b"numberOfRecords>3<", b"numberOfRecords>4<"))

    koop.packs = False
    koop.fail("startRecord=1", off_by_one)
    found = await search_of(koop).day(DAY)
    assert (found.number_of_records, found.complete, found.warnings) == (3, True, ())


async def test_records_missing_the_first_time_are_found_the_second(koop_server: Start, search_of: Ask):
    koop = koop_server(decisions_per_day={DAY: 30})
    koop.packs = False

    def without_one(request, response):
        head, _, rest = response.body.partition(b"<sru:record>")
        return replace(response, body=head + rest.partition(b"</sru:record>")[2])

    koop.fail("startRecord=1$", without_one)
    found = await search_of(koop).day(DAY)
    assert (found.unique_ids, found.complete, found.warnings) == (30, True, ())
    # The page and what its count still promised; the count again; the page again.
    assert len(searches(koop)) == 4


@pytest.mark.parametrize("out_of_range", ["diagnostic", "empty"])
async def test_a_promised_page_that_is_not_there_ends_the_day_incomplete(
    out_of_range, koop_server, search_of
):
    koop = koop_server(decisions_per_day={DAY: 20})
    koop.count_error, koop.out_of_range, koop.without_next = 5, out_of_range, True
    found = await search_of(koop, 10).day(DAY)
    assert (found.unique_ids, found.number_of_records, found.complete) == (20, 25, False)


async def test_a_next_position_that_does_not_move_on_is_an_error(koop_server: Start, search_of: Ask):
    koop = koop_server(decisions_per_day={DAY: 95})
    koop.stuck_next = True
    with pytest.raises(SearchFailed, match="record 1 follows the page from 1 on"):
        await search_of(koop, 40).day(DAY)
    assert len(searches(koop)) == 1


@pytest.mark.parametrize("page_records", [10, 40])
async def test_a_record_that_is_listed_twice_is_a_warning(page_records, koop_server: Start, search_of: Ask):
    koop = koop_server(decisions_per_day={DAY: 35})
    koop.repeating = True
    found = await search_of(koop, page_records).day(DAY)
    assert (found.unique_ids, found.number_of_records, found.complete) == (35, 36, True)
    assert found.warnings == ("1 records came twice",)


async def test_a_record_that_hides_another_is_not(koop_server: Start, search_of: Ask):
    """Each page begins with the last of the one before, and the last record of the day is never shown."""
    koop = koop_server(decisions_per_day={DAY: 35})
    koop.drifting, koop.without_next, koop.count_error = True, True, 0
    koop.greatest_page = 10
    found = await search_of(koop, 10).day(DAY)
    assert found.complete is (found.unique_ids == 35)


@pytest.mark.parametrize("direction", ["on", "back"])
@pytest.mark.parametrize("out_of_range", ["diagnostic", "empty"])
@pytest.mark.parametrize("decisions", [0, 20, 25])
async def test_a_next_position_on_the_last_page_costs_no_record(
    direction, out_of_range, decisions, koop_server, search_of
):
    koop = koop_server(decisions_per_day={DAY: decisions})
    koop.endless_next, koop.out_of_range = direction, out_of_range
    found = await search_of(koop, 20).day(DAY)
    assert (found.unique_ids, found.complete) == (decisions, True)


async def test_a_page_after_the_last_may_fail(koop_server: Start, search_of: Ask):
    koop = koop_server(decisions_per_day={DAY: 20})
    koop.endless_next = "on"
    koop.fail("startRecord=21", faults.status(500), times=math.inf)
    found = await search_of(koop, 20).day(DAY)
    assert (found.unique_ids, found.complete, len(found.warnings)) == (20, True, 1)
    koop.fail("startRecord=11", faults.status(500), times=math.inf)
    with pytest.raises(DocumentUnavailable):
        await search_of(koop, 10).day(DAY)


async def test_more_than_the_service_gives_out_is_read_as_far_as_it_goes(koop_server, search_of, monkeypatch):
    monkeypatch.setattr("sightline.jobs.koop.archive.search.MAX_POSITION", 150)
    koop = koop_server(decisions_per_day={DAY: 250})
    found = await search_of(koop, 100).day(DAY)
    assert (found.unique_ids, found.number_of_records, found.complete) == (200, 250, False)
    assert found.warnings[0] == "the service has more records for this day than it gives out"
    assert len(searches(koop)) == 2


# -- trouble on the way ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        faults.status(500),
        faults.status(502),
        faults.status(503),
        faults.too_many(),
        faults.too_many("3"),
        faults.html,
        faults.tag_soup,
        faults.cut(),
        faults.cut(0.95),
        faults.short(),
        faults.reset(),
        faults.reset(500),
        faults.bad_gzip,
        faults.wrong_charset,
        faults.diagnostic(1),
        faults.diagnostic(2, version="1.2"),
    ],
    ids=lambda fault: fault.__qualname__.split(".")[0],
)
async def test_a_passing_fault_costs_nothing_but_time(fault, koop_server: Start, search_of: Ask):
    koop = koop_server(decisions_per_day={DAY: 95})
    koop.fail("startRecord=41", fault, times=2)
    found = await search_of(koop, 40).day(DAY)
    assert (found.unique_ids, found.complete, found.warnings) == (95, True, ())
    assert len(searches(koop)) == 5


@pytest.mark.parametrize("fault", [faults.cut(), faults.html, faults.short(), faults.status(500)])
async def test_a_fault_that_stays_fails_the_day_and_counts_nothing(fault, koop: KoopServer, search_of: Ask):
    koop.fail("/sru", fault, times=math.inf)
    with pytest.raises(DocumentUnavailable, match="6 times"):
        await search_of(koop).day(DAY)


@pytest.mark.parametrize("number", [6, 7, 10, 16, 66])
async def test_a_question_the_service_refuses_is_asked_once(number, koop: KoopServer, search_of: Ask):
    koop.fail("/sru", faults.diagnostic(number), times=math.inf)
    with pytest.raises(SearchFailed) as caught:
        await search_of(koop).day(DAY)
    assert (caught.value.permanent, caught.value.diagnostic, len(searches(koop))) == (True, number, 1)


async def test_an_entity_bomb_is_asked_for_once(koop: KoopServer, search_of: Ask):
    koop.fail("/sru", faults.entity_bomb, times=math.inf)
    with pytest.raises(DocumentRefused, match="entities"):
        await search_of(koop).day(DAY)
    assert len(searches(koop)) == 1


async def test_a_gzip_bomb_is_refused(koop: KoopServer, search_of: Ask):
    koop.fail("/sru", faults.gzip_bomb(80), times=math.inf)
    with pytest.raises(DocumentRefused, match="larger"):
        await search_of(koop).day(DAY)


async def test_an_empty_answer_halves_the_page(koop_server: Start, search_of: Ask):
    koop = koop_server(decisions_per_day={DAY: 500})
    koop.fail("maximumRecords=(900|450)", faults.empty, times=math.inf)
    found = await search_of(koop).day(DAY)
    assert (found.unique_ids, found.complete) == (500, True)
    sizes = [url.partition("maximumRecords=")[2].partition("&")[0] for url in searches(koop)]
    # The size that worked is kept for the rest of the day.
    assert sizes == ["900", "450", "225", "225", "225"]


async def test_nothing_but_empty_answers_fail_the_day(koop: KoopServer, search_of: Ask):
    koop.fail("/sru", faults.empty, times=math.inf)
    with pytest.raises(SearchFailed, match="even for 10 records") as caught:
        await search_of(koop).day(DAY)
    assert not caught.value.permanent
    assert len(searches(koop)) == 8


async def test_a_storm_of_429_loses_nothing(koop_server: Start, search_of: Ask):
    time = Jumping()
    koop = koop_server(decisions_per_day={DAY: 400}, rate=Rate(5, 0.25), clock=lambda: time.now_s)
    found = await search_of(koop, 10, time=time).day(DAY)
    assert (found.unique_ids, found.complete) == (400, True)
    assert koop.requests(status=429)


async def test_records_of_another_day_are_pointed_out(koop: KoopServer, search_of: Ask):
    def of_another_day(request, response):
        return replace(response, body=response.body.replace(b"available>2024-06-03", b"available>2024-06-02"))

    koop.packs = False
    koop.fail("/sru", of_another_day)
    found = await search_of(koop).day(DAY)
    assert (found.complete, found.warnings) == (False, ("3 records name another day of publication",))


async def test_a_day_before_the_archive_is_not_asked_for(koop: KoopServer, search_of: Ask):
    with pytest.raises(InvalidRequest, match="too early"):
        await search_of(koop).day(date(1700, 1, 1))
    assert searches(koop) == []


# -- nothing, or nothing heard -----------------------------------------------------------------------------


async def test_counting_brings_no_records(koop: KoopServer, search_of: Ask):
    assert await search_of(koop).count(day_query(DAY)) == 3
    (url,) = searches(koop)
    assert "maximumRecords=0" in url
    assert "startRecord" not in url


async def test_an_empty_day_is_told_from_a_broken_index(koop_server: Start, search_of: Ask, monkeypatch):
    koop = koop_server(decisions_per_day={})
    search = search_of(koop)
    empty = await search.day(DAY)
    assert (empty.number_of_records, empty.complete) == (0, True)
    assert await search.check() == 95
    monkeypatch.setattr("koopserver.server.KNOWN_INDEXES", frozenset())
    broken = await search.day(DAY)
    assert (broken.number_of_records, broken.complete) == (0, True)
    with pytest.raises(SearchFailed, match=f"no traffic decision of {CANARY_DAY}") as caught:
        await search.check()
    assert not caught.value.permanent


async def test_the_canary_of_changes_is_a_range(koop_server: Start, search_of: Ask, monkeypatch):
    koop = koop_server(decisions_per_day={DAY: 7})
    search = search_of(koop)
    assert await search.check(DateField.MODIFIED, canary=date(2024, 1, 1)) == 7
    monkeypatch.setattr("koopserver.server.KNOWN_INDEXES", frozenset())
    with pytest.raises(SearchFailed, match="changed since 2024-01-01"):
        await search.check(DateField.MODIFIED, canary=date(2024, 1, 1))


# -- what is asked -----------------------------------------------------------------------------------------


async def test_the_request_is_what_the_service_documents(koop: KoopServer, search_of: Ask):
    await search_of(koop).day(DAY)
    (request,) = koop.requests("/sru")
    assert request.user_agent.endswith("(+https://example.org/about)")
    for part in (
        "operation=searchRetrieve",
        "version=2.0",
        "maximumRecords=900",
        "httpAccept=application/xml",
    ):
        assert part in request.url


@pytest.mark.parametrize("page_records", [0, 9, 1001])
def test_a_page_of_no_size(page_records, koop: KoopServer):
    with pytest.raises(ConfigurationError, match="10 to 1000"):
        Search(client_of(koop), koop.search_url, page_records=page_records)
