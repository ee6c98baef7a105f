"""One document after another from real servers on loopback; time jumps, so no test waits."""

from __future__ import annotations

import asyncio
import email.utils
import gzip
import re
import zlib

import pytest

from sightline import __version__
from sightline.errors import (
    ConfigurationError,
    DocumentGone,
    DocumentRefused,
    DocumentUnavailable,
    SightlineError,
)
from sightline.jobs.koop.polite import BadDocument, Document, Unchanged

MAX_BYTES = 10_000


def url_of(server, path: str = "/a.xml") -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def origin_of(server) -> str:
    return f"http://127.0.0.1:{server.port}"


def packed(body: bytes, *, by: str = "gzip") -> bytes:
    length = f"Content-Length: {len(body)}"
    lines = ("HTTP/1.1 200 OK", f"Content-Encoding: {by}", length, "Connection: close")
    head = "\r\n".join(lines) + "\r\n\r\n"
    return head.encode() + body


# -- what a request is -------------------------------------------------------------------------------------


async def test_a_document_comes_with_what_its_host_says_of_it(serve, polite, ok):
    headers = (
        'ETag: "v1"',
        "Last-Modified: yesterday",
        "Content-Type: Text/XML; charset=x",
        "Connection: close",
    )
    server = await serve(ok(b"<a/>", *headers))
    document = await polite(server).fetch(url_of(server, "/a.xml#x"), max_bytes=MAX_BYTES)
    assert document == Document(url_of(server), b"<a/>", "text/xml", '"v1"', "yesterday", 4)


async def test_it_says_who_asks_and_brings_nothing_else(serve, polite, answers):
    server = await serve(answers((301, "Location: /b", "Set-Cookie: a=1"), b"x"))
    await polite(server).fetch(url_of(server), max_bytes=MAX_BYTES)
    assert server.paths == ["/a.xml", "/b"]
    for head in server.heads:
        lines = head.strip().split("\r\n")[1:]
        assert sorted(line.split(":")[0] for line in lines) == [
            "Accept",
            "Accept-Encoding",
            "Host",
            "User-Agent",
        ]
        assert f"User-Agent: sightline/{__version__} (+https://example.org/about)" in lines


async def test_the_environments_proxies_are_not_for_it(serve, polite, answers, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server = await serve(answers(b"x"))
    assert (await polite(server).fetch(url_of(server), max_bytes=MAX_BYTES)).body == b"x"


async def test_connections_are_kept(polite):
    heads = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = object()
        while head := await reader.readuntil(b"\r\n\r\n"):
            heads.append((connection, head))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
            if len(heads) == 3:
                break
        writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    client = polite(origins=[f"http://127.0.0.1:{port}"])
    for _ in range(3):
        await client.fetch(f"http://127.0.0.1:{port}/", max_bytes=1)
    assert len({connection for connection, _ in heads}) == 1
    listener.close()


# -- what has not changed ----------------------------------------------------------------------------------


def body_of(document: Document) -> bytes:
    return document.body


@pytest.mark.parametrize("etag", ['"v1"', 'W/"v1"', '""'])
async def test_a_document_that_has_not_changed_is_not_sent_again(etag, serve, polite, answers):
    server = await serve(answers((304, f"ETag: {etag}")))
    client = polite(server)
    with pytest.raises(Unchanged):
        await client.fetch_as(url_of(server), body_of, max_bytes=MAX_BYTES, etag=etag)
    assert f"If-None-Match: {etag}\r\n" in server.heads[0]
    assert len(server.heads) == 1
    assert client.silences() == []
    assert client.answers(origin_of(server))
    assert client.traffic()[origin_of(server)].failed == 0


async def test_one_that_has_changed_comes(serve, polite, answers):
    server = await serve(answers((301, "Location: /b"), b"other"))
    assert (
        await polite(server).fetch_as(url_of(server), body_of, max_bytes=MAX_BYTES, etag='"v1"') == b"other"
    )
    assert all('If-None-Match: "v1"' in head for head in server.heads)


@pytest.mark.parametrize("etag", [None, "v1", '"v\xe9"', '"a"b"', '"' + "x" * 500 + '"', ""])
async def test_what_is_no_etag_is_not_sent(etag, serve, polite, answers):
    server = await serve(answers(b"whole"))
    assert await polite(server).fetch_as(url_of(server), body_of, max_bytes=MAX_BYTES, etag=etag) == b"whole"
    assert "If-None-Match" not in server.heads[0]
    server.answer = answers(304)  # which nobody asked for
    with pytest.raises(DocumentRefused):
        await polite(server).fetch_as(url_of(server), body_of, max_bytes=MAX_BYTES, etag=etag)


# -- what is not tried again -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 410])
async def test_gone_is_gone(status, serve, polite, answers):
    server = await serve(answers(status))
    with pytest.raises(DocumentGone) as caught:
        await polite(server).fetch(url_of(server), max_bytes=MAX_BYTES)
    assert (caught.value.status, caught.value.permanent) == (status, True)
    assert server.connections == 1


@pytest.mark.parametrize("status", [400, 401, 403, 405, 451, 501])
async def test_refused_is_refused(status, serve, polite, answers):
    server = await serve(answers(status))
    with pytest.raises(DocumentRefused) as caught:
        await polite(server).fetch(url_of(server), max_bytes=MAX_BYTES)
    assert (caught.value.status, caught.value.permanent) == (status, True)
    assert server.connections == 1


async def test_another_host_is_never_asked(serve, polite, answers, connects):
    server, stranger = await serve(answers(b"x")), await serve(answers(b"x"))
    client = polite(server)
    with pytest.raises(DocumentRefused, match="not on the list"):
        await client.fetch(url_of(stranger), max_bytes=MAX_BYTES)
    assert connects == []


async def test_a_redirect_to_another_host_is_not_followed(serve, polite, answers):
    stranger = await serve(answers(b"x"))
    server = await serve(answers((302, f"Location: {url_of(stranger)}")))
    with pytest.raises(DocumentRefused, match="not on the list"):
        await polite(server).fetch(url_of(server), max_bytes=MAX_BYTES)
    assert stranger.connections == 0


async def test_a_redirect_to_another_listed_host_is_followed(serve, polite, answers):
    other = await serve(answers(b"there"))
    server = await serve(answers((302, f"Location: {url_of(other, '/b')}")))
    document = await polite(server, other).fetch(url_of(server), max_bytes=MAX_BYTES)
    assert (document.body, document.url) == (b"there", url_of(other, "/b"))


@pytest.mark.parametrize("location", ["/a.xml", "", "a.xml#again", "{url}"])
async def test_a_redirect_to_itself_is_permanent_at_once(location, serve, polite, answers):
    server = await serve(answers(301))
    server.answer = answers((301, "Location: " + location.replace("{url}", url_of(server))))
    with pytest.raises(DocumentRefused, match="circle"):
        await polite(server).fetch(url_of(server), max_bytes=MAX_BYTES)
    assert server.connections == 1


async def test_a_longer_circle_is_found_too(serve, polite, answers):
    server = await serve(answers((301, "Location: /b"), (301, "Location: /c"), (301, "Location: /a.xml")))
    with pytest.raises(DocumentRefused, match="circle"):
        await polite(server).fetch(url_of(server), max_bytes=MAX_BYTES)
    assert server.connections == 3


async def test_five_redirects_are_followed_and_no_sixth(serve, polite, answers):
    steps = [(301, f"Location: /{step}") for step in range(5)]
    server = await serve(answers(*steps, b"x"))
    assert (await polite(server).fetch(url_of(server), max_bytes=MAX_BYTES)).body == b"x"
    server = await serve(answers(*steps, (301, "Location: /5"), b"x"))
    with pytest.raises(DocumentRefused, match="after 5 times"):
        await polite(server).fetch(url_of(server), max_bytes=MAX_BYTES)
    assert server.connections == 6


async def test_a_name_that_leads_to_this_machine_is_not_dialled(polite, resolve, connects):
    client = polite(origins=["https://archive.example"], resolver=resolve(["127.0.0.1"]))
    with pytest.raises(DocumentRefused, match="not a public"):
        await client.fetch("https://archive.example/a", max_bytes=MAX_BYTES)
    assert connects == []


async def test_a_listed_loopback_host_opens_it_for_no_other_name(serve, polite, answers, resolve, connects):
    server = await serve(answers(b"x"))
    client = polite(server, origins=["https://archive.example"], resolver=resolve(["127.0.0.1"]))
    await client.fetch(url_of(server), max_bytes=MAX_BYTES)
    with pytest.raises(DocumentRefused, match="not a public"):
        await client.fetch("https://archive.example/a", max_bytes=MAX_BYTES)
    assert len(connects) == 1


# -- what is tried again -----------------------------------------------------------------------------------


CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nonly this"
DAMAGED = bytearray(gzip.compress(bytes(range(256)) * 20))
DAMAGED[40:60] = bytes(20)
FAULTS = {
    **{str(status): status for status in (408, 425, 429, 500, 502, 503, 504, 204, 206)},
    "no answer": b"HTTP/",
    "another protocol": b"HTTP/1.1 two hundred\r\n\r\n",
    "cut short": CUT,
    "cut within a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nonly this",
    "gzip that breaks off": packed(gzip.compress(b"x" * 5000)[:-9]),
    "gzip that is damaged": packed(bytes(DAMAGED)),
    "no gzip": packed(b"plain text"),
    "deflate": packed(zlib.compress(b"x"), by="deflate"),
    "empty": b"",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_a_passing_fault_costs_an_attempt(fault, serve, polite, answers):
    server = await serve(answers(fault, fault, b"whole"))
    document = await polite(server).fetch(url_of(server), max_bytes=MAX_BYTES)
    assert document.body == b"whole"
    assert server.connections == 3


@pytest.mark.parametrize("fault", [500, 429, CUT, b""], ids=["500", "429", "cut short", "empty"])
async def test_after_six_attempts_it_is_given_up_for_now(fault, serve, polite, answers):
    server = await serve(answers(fault))
    with pytest.raises(DocumentUnavailable, match="6 times") as caught:
        await polite(server).fetch(url_of(server), max_bytes=MAX_BYTES)
    assert not caught.value.permanent
    assert caught.value.status == (fault if isinstance(fault, int) else None)
    assert server.connections == 6


async def test_a_closed_port_is_tried_again_too(serve, polite, answers, time):
    server = await serve(answers(b"x"))
    client = polite(origins=["http://127.0.0.1:1"])
    with pytest.raises(DocumentUnavailable, match="6 times: the connection failed"):
        await client.fetch("http://127.0.0.1:1/", max_bytes=MAX_BYTES)
    assert client.traffic()["http://127.0.0.1:1"].failed == 6
    assert server.connections == 0


async def test_silence_ends_and_is_tried_again(serve, polite, answers):
    first = asyncio.Event()

    async def answer(head, writer):
        if first.is_set():
            await answers(b"whole")(head, writer)
        first.set()

    server = await serve(answer)
    client = polite(server, idle_timeout_s=0.2)
    assert (await client.fetch(url_of(server), max_bytes=MAX_BYTES)).body == b"whole"


async def test_a_drip_ends_with_the_attempt(serve, polite):
    async def drip(head, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    server = await serve(drip)
    client = polite(server, attempt_timeout_s=0.2, attempts=2)
    with pytest.raises(DocumentUnavailable, match="2 times: it did not answer in time"):
        await client.fetch(url_of(server), max_bytes=MAX_BYTES)


async def test_a_reader_may_ask_for_another_try(serve, polite, answers):
    server = await serve(answers(b"maintenance", b"maintenance", b"42"))

    def number(document: Document) -> int:
        if not document.body.isdigit():
            raise BadDocument("no number")
        return int(document.body)

    assert await polite(server).fetch_as(url_of(server), number, max_bytes=MAX_BYTES) == 42
    server.answer = answers(b"maintenance")
    with pytest.raises(DocumentUnavailable, match="6 times: no number"):
        await polite(server).fetch_as(url_of(server), number, max_bytes=MAX_BYTES)


async def test_a_readers_other_errors_are_its_own(serve, polite, answers):
    server = await serve(answers(b"x"))

    def broken(document: Document) -> None:
        raise SightlineError("mine")

    with pytest.raises(SightlineError, match="mine"):
        await polite(server).fetch_as(url_of(server), broken, max_bytes=MAX_BYTES)
    assert server.connections == 1


async def test_a_reader_sees_an_empty_answer(serve, polite, answers):
    server = await serve(answers(b""))
    length = await polite(server).fetch_as(url_of(server), lambda it: len(it.body), max_bytes=MAX_BYTES)
    assert length == 0


async def test_retries_wait_with_full_jitter(serve, polite, answers, time):
    server = await serve(answers(500))
    with pytest.raises(DocumentUnavailable):
        await polite(server).fetch(url_of(server), max_bytes=MAX_BYTES)
    assert len(time.slept) == 5
    assert all(wait_s <= 2 * 2**retry for retry, wait_s in enumerate(time.slept))
    assert len(set(time.slept)) == 5


async def test_patience_ends_before_the_attempts_do(serve, polite, answers, time):
    server = await serve(answers((429, "Retry-After: 400")))
    with pytest.raises(DocumentUnavailable, match=r"has given no answer for .* HTTP 429"):
        await polite(server, patience_s=1600).fetch(url_of(server), max_bytes=MAX_BYTES)


# -- caps --------------------------------------------------------------------------------------------------


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"10\r\n0123456789abcdef\r\n" * 10
    + b"0\r\n\r\n"
)


async def test_exactly_the_cap_is_not_too_much(serve, polite, ok):
    server = await serve(ok(b"x" * 100, "Connection: close"))
    assert len((await polite(server).fetch(url_of(server), max_bytes=100)).body) == 100
    server = await serve(packed(gzip.compress(b"x" * 100)))
    assert len((await polite(server).fetch(url_of(server), max_bytes=100)).body) == 100


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101,
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n",
        CHUNKED,
        packed(gzip.compress(b"x" * 101)),
        packed(gzip.compress(b"x" * 60) * 2),
    ],
    ids=["announced", "announced without a body", "in chunks", "inflated", "inflated in two members"],
)
async def test_more_than_the_cap_is_permanent(answer, serve, polite):
    server = await serve(answer)
    with pytest.raises(DocumentRefused, match="larger than 100 bytes"):
        await polite(server).fetch(url_of(server), max_bytes=100)
    assert server.connections == 1


async def test_a_gzip_bomb_costs_no_more_than_the_cap(serve, polite, monkeypatch):
    largest = 0
    original = zlib.decompressobj

    class Watched:
        def __init__(self, *arguments):
            self._inner = original(*arguments)

        def decompress(self, piece, max_length):
            nonlocal largest
            part = self._inner.decompress(piece, max_length)
            largest = max(largest, len(part))
            return part

        def __getattr__(self, name):
            return getattr(self._inner, name)

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    server = await serve(packed(gzip.compress(bytes(100_000_000), 9)))
    with pytest.raises(DocumentRefused, match="larger"):
        await polite(server).fetch(url_of(server), max_bytes=1_000_000)
    assert 0 < largest <= 1_000_001


async def test_gzip_in_several_members_is_one_body(serve, polite):
    server = await serve(packed(gzip.compress(b"one ") + gzip.compress(b"two")))
    document = await polite(server).fetch(url_of(server), max_bytes=MAX_BYTES)
    assert document.body == b"one two"


# -- the whole host ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "low_s", "high_s"),
    [
        ("120", 120, 120),
        ("86400", 600, 600),
        (email.utils.formatdate(1_700_000_300.0, usegmt=True), 299, 301),
        ("Wed, 01 Jan 2020 00:00:00 GMT", 5, 10),
        ("a while", 5, 10),
    ],
    ids=["seconds", "too many seconds", "a date", "a date gone by", "garbage"],
)
async def test_retry_after_pauses_the_host(value, low_s, high_s, serve, polite, answers):
    server = await serve(answers((429, f"Retry-After: {value}")))
    client = polite(server, attempts=1)
    with pytest.raises(DocumentUnavailable):
        await client.fetch(url_of(server), max_bytes=MAX_BYTES)
    assert low_s <= client.traffic()[origin_of(server)].paused_s <= high_s


async def test_one_workers_429_holds_the_others_on_that_host_alone(serve, polite, answers, time):
    busy, calm = await serve(answers((429, "Retry-After: 300"), b"x")), await serve(answers(b"y"))
    client = polite(busy, calm)
    paused = asyncio.create_task(client.fetch(url_of(busy), max_bytes=MAX_BYTES))
    while not client.traffic()[origin_of(busy)].throttled:  # noqa: ASYNC110
        await asyncio.sleep(0)
    before_s = time.now_s
    assert (await client.fetch(url_of(calm), max_bytes=MAX_BYTES)).body == b"y"
    assert (await paused).body == b"x"
    assert time.now_s - before_s >= 290
    assert client.traffic()[origin_of(calm)].rate_per_s == pytest.approx(0.86)
    assert client.traffic()[origin_of(busy)].rate_per_s == pytest.approx(0.435)


async def test_ten_in_flight_429_halve_the_rate_once(serve, polite, answers):
    all_in = asyncio.Event()
    asked = 0

    async def answer(head, writer):
        nonlocal asked
        asked += 1
        is_first = asked <= 10
        if asked == 10:
            all_in.set()
        await all_in.wait()
        await answers(429 if is_first else b"x")(head, writer)

    server = await serve(answer)
    client = polite(server, concurrent=10)
    fetched = await asyncio.gather(*(client.fetch(url_of(server), max_bytes=MAX_BYTES) for _ in range(10)))
    assert {document.body for document in fetched} == {b"x"}
    traffic = client.traffic()[origin_of(server)]
    assert (traffic.throttled, traffic.requests) == (10, 20)
    assert traffic.rate_per_s == pytest.approx(0.425 + 10 * 0.01)


async def test_no_more_requests_at_a_time_than_agreed(serve, polite, answers):
    under_way = most = 0

    async def answer(head, writer):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.005)
        under_way -= 1
        await answers(b"x")(head, writer)

    server = await serve(answer)
    client = polite(server, concurrent=3)
    await asyncio.gather(*(client.fetch(url_of(server), max_bytes=MAX_BYTES) for _ in range(12)))
    assert most == 3


async def test_a_host_that_is_down_is_left_alone(serve, polite, answers, time):
    server = await serve(answers(500))
    client = polite(server, attempts=6, breaker_failures=4, breaker_pause_s=60, max_breaker_pause_s=100)
    with pytest.raises(DocumentUnavailable):
        await client.fetch(url_of(server), max_bytes=MAX_BYTES)
    # The fifth and sixth attempt each waited for the breaker, then were its probe.
    assert [wait_s for wait_s in time.slept if wait_s > 32] == pytest.approx([60, 100], abs=32)
    server.answer = answers(b"back")
    before_s = time.now_s
    assert (await client.fetch(url_of(server), max_bytes=MAX_BYTES)).body == b"back"
    assert time.now_s - before_s == pytest.approx(100, abs=2)
    assert (await client.fetch(url_of(server), max_bytes=MAX_BYTES)).body == b"back"
    assert time.now_s - before_s == pytest.approx(100, abs=2)


async def test_documents_that_are_missing_do_not_make_a_host_ill(serve, polite, answers, time):
    server = await serve(answers(404))
    client = polite(server, breaker_failures=2)
    for _ in range(5):
        with pytest.raises(DocumentGone):
            await client.fetch(url_of(server), max_bytes=MAX_BYTES)
    assert time.slept == []


async def test_a_cancelled_fetch_leaves_room_for_others(serve, polite, answers):
    asked = asyncio.Event()

    async def never(head, writer):
        asked.set()

    server = await serve(never)
    client = polite(server, concurrent=1)
    fetching = asyncio.create_task(client.fetch(url_of(server), max_bytes=MAX_BYTES))
    await asked.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    server.answer = answers(b"x")
    assert (await client.fetch(url_of(server), max_bytes=MAX_BYTES)).body == b"x"


async def test_what_was_learned_is_taken_up_by_the_next_client(serve, polite, answers):
    server = await serve(answers(429, b"x"))
    client = polite(server)
    await client.fetch(url_of(server), max_bytes=MAX_BYTES)
    learned = client.learned()
    again = polite(server, learned=learned)
    assert again.traffic()[origin_of(server)].rate_per_s == client.traffic()[origin_of(server)].rate_per_s
    other = polite(origins=["https://archive.example"], learned=learned)
    assert other.learned()[origin_of(server)] == learned[origin_of(server)]


async def test_a_restart_after_a_kill_keeps_a_pause(serve, polite, answers):
    server = await serve(answers((429, "Retry-After: 300"), b"x"))
    client, told = polite(server, attempts=1), []
    with client.remembering(told.append), pytest.raises(DocumentUnavailable):
        await client.fetch(url_of(server), max_bytes=MAX_BYTES)
    again = polite(server, learned=told[-1])  # nothing more was written down: the process was killed
    traffic = again.traffic()[origin_of(server)]
    assert (traffic.paused_s, traffic.rate_per_s) == (pytest.approx(300, abs=1), pytest.approx(0.425))


@pytest.mark.parametrize("kills_after", [1, 4, 7])
async def test_restarts_in_a_row_send_no_more_than_one_run(kills_after, serve, polite, answers, time):
    server = await serve(answers(b"x"))
    told, began_s = {}, time.now_s
    for _ in range(30):
        client = polite(server, burst=20, rate_per_s=0.5, ceiling_per_s=0.5, learned=told)
        with client.remembering(told.update):
            for _ in range(kills_after):
                await client.fetch(url_of(server), max_bytes=MAX_BYTES)
    assert len(server.heads) == 30 * kills_after
    assert len(server.heads) <= 20 + 0.5 * (time.now_s - began_s) + 1e-6


async def test_what_is_learned_is_not_written_down_with_every_request(serve, polite, answers, time):
    server = await serve(answers(b"x"))
    client, told = polite(server, burst=100), []
    with client.remembering(told.append):
        for _ in range(31):
            await client.fetch(url_of(server), max_bytes=MAX_BYTES)
        assert len(told) == 4  # the first, and one per tenth of the burst
        time.rest(6)
        await client.fetch(url_of(server), max_bytes=MAX_BYTES)
        assert len(told) == 5
    await client.fetch(url_of(server), max_bytes=MAX_BYTES)
    assert len(told) == 5


async def test_a_memory_that_fails_ends_the_fetch(serve, polite, answers):
    server = await serve(answers(b"x"))
    client = polite(server)

    def full(learned):
        raise SightlineError("the disk is full")

    with client.remembering(full), pytest.raises(SightlineError, match="disk is full"):
        await client.fetch(url_of(server), max_bytes=MAX_BYTES)
    assert server.connections == 0


async def test_traffic_is_counted(serve, polite, answers):
    server = await serve(answers((301, "Location: /b"), 500, (301, "Location: /b"), 429, b"12345"))
    client = polite(server)
    await client.fetch(url_of(server), max_bytes=MAX_BYTES)
    traffic = client.traffic()[origin_of(server)]
    assert (traffic.requests, traffic.failed, traffic.throttled, traffic.received_bytes) == (5, 1, 1, 5)


async def test_messages_say_what_was_asked_and_what_came(serve, polite, answers):
    server = await serve(answers(502))
    with pytest.raises(DocumentUnavailable, match=re.escape(url_of(server)) + ".*HTTP 502"):
        await polite(server).fetch(url_of(server), max_bytes=MAX_BYTES)


def test_an_origin_that_is_none_is_said_at_once(polite):
    with pytest.raises(ConfigurationError, match="https"):
        polite(origins=["http://archive.example"])
