"""What a client says of hosts that owe an answer, and how long it bears with them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sightline.errors import DocumentUnavailable, HostSilent
from sightline.jobs.koop.polite import Doing, Silence
from sightline.jobs.koop.polite.silence import Hearing

MAX_BYTES = 10_000
ORIGIN = "https://archive.example"


def url_of(server, path: str = "/a.xml") -> str:
    return f"http://127.0.0.1:{server.port}{path}"


@pytest.fixture
def watched(time, polite):
    """``watched(server, ...)``: a client, and the silences there were whenever somebody began to sleep."""

    def build(server, **policy):
        seen: list[Silence] = []
        sleep = time.clock.sleep

        async def look(seconds: float) -> None:
            seen.extend(client.silences())
            await sleep(seconds)

        time.clock = replace(time.clock, sleep=look)
        client = polite(server, **policy)
        return client, seen

    return build


async def test_a_pause_that_was_asked_for_is_told_with_its_end(serve, answers, watched):
    server = await serve(answers((429, "Retry-After: 400"), b"x"))
    client, seen = watched(server)
    await client.fetch(url_of(server), max_bytes=MAX_BYTES)
    (said,) = {each.doing: each for each in seen if each.doing is Doing.RETRY_AFTER and each.for_s}.values()
    assert said.origin == url_of(server, "")
    assert said.until_unix_s == pytest.approx(said.since_unix_s + 400)
    assert said.reason == "it answered HTTP 429"
    assert client.silences() == []
    assert client.answers(said.origin)


async def test_a_pause_of_our_own_is_told_as_such(serve, answers, watched):
    server = await serve(answers(429, b"x"))
    client, seen = watched(server)
    await client.fetch(url_of(server), max_bytes=MAX_BYTES)
    assert {each.doing for each in seen} == {Doing.PAUSING}


async def test_backing_off_and_leaving_alone_are_told(serve, answers, watched):
    server = await serve(answers(500, 500, 500, 500, b"x"))
    client, seen = watched(server, breaker_failures=3, breaker_pause_s=60.0, attempts=9)
    await client.fetch(url_of(server), max_bytes=MAX_BYTES)
    done = list(dict.fromkeys(each.doing for each in seen))
    assert done == [Doing.BACKING_OFF, Doing.LEAVING_ALONE]
    assert {each.reason for each in seen} == {"it answered HTTP 500"}
    assert len({round(each.since_unix_s, 6) for each in seen}) == 1  # nothing of use came between them
    assert all(each.until_unix_s is not None for each in seen)


async def test_a_request_that_hangs_is_told(serve, polite, time):
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def hang(head, writer):
        asked.set()
        await go_on.wait()
        writer.close()

    server = await serve(hang)
    client = polite(server, attempts=1)
    fetch = asyncio.create_task(client.fetch(url_of(server), max_bytes=MAX_BYTES))
    await asked.wait()
    time.rest(100.0)
    (silence,) = client.silences()
    assert (silence.doing, silence.until_unix_s, silence.reason) == (Doing.ASKING, None, None)
    assert silence.for_s == pytest.approx(100.0)
    go_on.set()
    with pytest.raises(DocumentUnavailable):
        await fetch
    assert client.silences() == []  # nothing is wanted of it
    assert not client.answers(silence.origin)


async def test_each_piece_of_a_body_is_an_answer(serve, polite, time):
    half, go_on = asyncio.Event(), asyncio.Event()

    async def drip(head, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await writer.drain()
        half.set()
        await go_on.wait()
        time.rest(100.0)
        writer.write(b"x")
        await writer.drain()
        await piece_read()
        writer.write(b"x")
        await writer.drain()

    async def piece_read():
        while client.silences()[0].for_s:  # noqa: ASYNC110 - locks of the loop, not time
            await asyncio.sleep(0)

    server = await serve(drip)
    client = polite(server)
    fetch = asyncio.create_task(client.fetch(url_of(server), max_bytes=MAX_BYTES))
    await half.wait()
    go_on.set()
    assert (await fetch).body == b"xx"


# -- patience ----------------------------------------------------------------------------------------------


async def test_nobody_waits_for_what_would_come_too_late(serve, polite, answers, time):
    server = await serve(answers((429, "Retry-After: 400")))
    client = polite(server, patience_s=300)
    with pytest.raises(HostSilent, match=r"6\.\d+ \(it answered HTTP 429\).*at most 5 minutes") as caught:
        await client.fetch(url_of(server), max_bytes=MAX_BYTES)
    assert caught.value.status == 429
    assert sum(time.slept) < 10
    assert len(server.heads) == 1


async def test_a_host_left_alone_for_too_long_is_given_up_by_all_and_tried_later(
    serve, polite, answers, ok, time
):
    server = await serve(answers(500))
    client = polite(server, breaker_failures=2, breaker_pause_s=100.0, patience_s=250.0, attempts=9)
    outcomes = await asyncio.gather(
        *(client.fetch(url_of(server, f"/{n}"), max_bytes=MAX_BYTES) for n in range(4)),
        return_exceptions=True,
    )
    assert {type(each) for each in outcomes} == {HostSilent}
    asked = len(server.heads)
    with pytest.raises(HostSilent):
        await client.fetch(url_of(server), max_bytes=MAX_BYTES)
    assert len(server.heads) == asked  # not even once, while it is left alone
    time.rest(3600.0)
    server.answer = ok(b"x", "Connection: close")
    assert (await client.fetch(url_of(server), max_bytes=MAX_BYTES)).body == b"x"


async def test_a_host_that_answers_others_is_not_silent(serve, polite, answers):
    """A document may be asked for as often as allowed, however long that takes."""
    server = await serve(answers(*[(429, "Retry-After: 400"), b"x"] * 3))
    client = polite(server, patience_s=500.0)
    for _ in range(3):
        assert (await client.fetch(url_of(server), max_bytes=MAX_BYTES)).body == b"x"


async def test_patience_may_end_during_a_rest(time):
    hearing = Hearing(ORIGIN, 100.0, time.clock)
    with hearing.wanted():
        hearing.failed("it answered HTTP 500", 500)
        await hearing.rest(90.0)
        with pytest.raises(HostSilent, match=r"for 1.83 minutes \(it answered HTTP 500\)"):
            await hearing.rest(20.0)
        assert hearing.rests_until_s is None


async def test_time_in_which_nothing_is_wanted_does_not_count(time):
    hearing = Hearing(ORIGIN, 100.0, time.clock)
    with hearing.wanted():
        time.rest(60.0)
        hearing.failed("it answered HTTP 500", 500)
    assert hearing.silent_s is None
    time.rest(1000.0)
    with hearing.wanted():
        assert hearing.silent_s == pytest.approx(60.0)
        hearing.require_patience(40.0)
        with pytest.raises(HostSilent, match=r"for 1 minutes and will not be asked for another 0.833"):
            hearing.require_patience(50.0)
        hearing.heard()
        assert (hearing.silent_s, hearing.reason) == (0.0, None)
    time.rest(1000.0)
    with hearing.wanted():
        assert hearing.silent_s == 0.0
