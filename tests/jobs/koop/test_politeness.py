"""Days fetched by four workers from hosts that count: what they see of us, by their own clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date, timedelta

import pytest
from koopclient import Jumping, client_of
from koopserver import KoopServer, Rate, faults

from sightline.jobs.koop.archive.attachments import find_attachment
from sightline.jobs.koop.archive.publication import illustration_url, read_publication
from sightline.jobs.koop.archive.records import Record
from sightline.jobs.koop.archive.search import Search
from sightline.jobs.koop.polite import Document, PoliteClient

FIRST = date(2024, 6, 3)
MAX_BYTES = 10_000_000
Start = Callable[..., KoopServer]


async def fetch_all(koop: KoopServer, client: PoliteClient, record: Record) -> list[Document]:
    """A publication's text, pictures and attachments."""

    def read(document: Document):
        return document, read_publication(document.body)

    text, publication = await client.fetch_as(record.xml_url, read, max_bytes=MAX_BYTES)
    documents = [text]
    for picture in publication.illustrations:
        url = illustration_url(record.page_url, picture.name)
        documents.append(await client.fetch(url, max_bytes=MAX_BYTES))
    for name in record.attachments:
        there = await find_attachment(client, koop.attachments_folder, name.exb_id)
        documents.append(await client.fetch(there.url, max_bytes=MAX_BYTES))
    return documents


async def fetch_days(koop: KoopServer, client: PoliteClient, days: int) -> int:
    """Everything of some days, by four workers. Returns how many documents that were."""
    search = Search(client, koop.search_url)
    number = 0
    for offset in range(days):
        records = iter((await search.day(FIRST + timedelta(days=offset))).records)

        async def work(records=records) -> int:
            return sum([len(await fetch_all(koop, client, record)) for record in records])

        number += sum(await asyncio.gather(*(work() for _ in range(4))))
    return number


def expected(koop: KoopServer, days: int) -> int:
    decisions = koop.decisions(FIRST, FIRST + timedelta(days=days - 1))
    return sum(1 + len(each.illustrations) + len(each.attachments) for each in decisions)


def most_above(koop: KoopServer, role: str, rate_per_s: float) -> float:
    """The most requests that any stretch of time had beyond ``rate_per_s``."""
    moments = [each.at for each in koop.log if each.role == role]
    return max(
        last - first + 1 - rate_per_s * (moments[last] - moments[first])
        for first in range(len(moments))
        for last in range(first, len(moments))
    )


async def test_the_hosts_measured_limits_are_never_met(koop_server: Start):
    time = Jumping()
    koop = koop_server(decisions_per_day=60, rate=Rate(115, 1.0), clock=lambda: time.now_s)
    async with client_of(koop, time) as client:
        assert await fetch_days(koop, client, 3) == expected(koop, 3)
    assert koop.requests(status=429) == []
    for role in ("search", "reader", "attachments"):
        assert most_above(koop, role, 0.95) <= 50 + 1e-6
    assert all(each.user_agent.startswith("sightline/") for each in koop.log)


async def test_a_restart_at_any_moment_is_no_second_burst(koop_server: Start):
    time = Jumping()
    koop = koop_server(decisions_per_day=60, rate=Rate(115, 1.0), clock=lambda: time.now_s)
    learned = None
    for _ in range(3):
        client = client_of(koop, time, learned=learned)
        async with client:
            await fetch_days(koop, client, 1)
        learned = client.learned()
    assert koop.requests(status=429) == []
    assert most_above(koop, "reader", 0.95) <= 50 + 1e-6


async def test_stricter_hosts_are_learned_and_nothing_is_lost(koop_server: Start):
    time = Jumping()
    koop = koop_server(decisions_per_day=60, rate=Rate(20, 0.2), clock=lambda: time.now_s)
    async with client_of(koop, time) as client:
        assert await fetch_days(koop, client, 3) == expected(koop, 3)
        busiest = max(client.traffic().values(), key=lambda traffic: traffic.requests)
    assert 0 < busiest.throttled < 0.2 * busiest.requests
    assert busiest.rate_per_s < 0.4


@pytest.mark.parametrize("retry_after", [None, "30", "Wed, 01 Jan 2020 00:00:00 GMT", "soon"])
async def test_a_storm_of_429_passes_and_nothing_is_lost(retry_after, koop_server: Start):
    time = Jumping()
    koop = koop_server(decisions_per_day=20, clock=lambda: time.now_s)
    koop.fail("/frbr/", faults.too_many(retry_after), times=12)
    async with client_of(koop, time) as client:
        assert await fetch_days(koop, client, 1) == expected(koop, 1)
        traffic = client.traffic()
    assert traffic[koop.repository_url].throttled == 12
    # One lesson per pause, and the other hosts learn nothing from it.
    assert traffic[koop.repository_url].rate_per_s >= 0.1
    assert traffic[koop.reader_url].rate_per_s > 0.85


async def test_a_host_that_is_down_for_a_while_is_waited_for(koop_server: Start):
    time = Jumping()
    koop = koop_server(decisions_per_day=20, clock=lambda: time.now_s)
    koop.fail("/frbr/", faults.reset(), times=12)
    async with client_of(koop, time) as client:
        assert await fetch_days(koop, client, 1) == expected(koop, 1)
    assert time.now_s > 60
