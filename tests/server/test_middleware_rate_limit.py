"""Rates hold per client and path, over moving windows, and count only what was let through."""

from __future__ import annotations

from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from sightline.errors import ConfigurationError
from sightline.server.middleware.rate_limit import RateLimit, by_route, client_of

RATES = {"/api": ("5/hour", "8/day"), "/api/geolocate": ("2/minute",)}


async def _ok(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time stands still unless ``now`` is set. There is no clock that anybody could set."""
    clock = SimpleNamespace(now=1_000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("sightline.server.middleware.rate_limit.time", clock)
    return clock


def limited(rates: dict[str, tuple[str, ...]] = RATES) -> RateLimit:
    return RateLimit(_ok, rates_by_prefix=rates, free_paths={"/api/health"})


def client(app: RateLimit, address: str = "203.0.113.7") -> TestClient:
    return TestClient(app, client=(address, 40_000))


def statuses(client: TestClient, path: str, times: int) -> list[int]:
    return [client.get(path).status_code for _ in range(times)]


def test_the_route_has_its_rate_and_says_when_to_come_back(clock: SimpleNamespace) -> None:
    asking = client(limited())
    assert statuses(asking, "/api/geolocate", 2) == [200, 200]
    clock.now += 20.5
    refused = asking.get("/api/geolocate")
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "40"
    assert refused.json()["code"] == "rate_limited"
    clock.now += 39
    assert asking.get("/api/geolocate").headers["retry-after"] == "1"
    clock.now += 1
    assert statuses(asking, "/api/geolocate", 3) == [200, 200, 429]


def test_the_window_moves(clock: SimpleNamespace) -> None:
    asking = client(limited())
    asking.get("/api/geolocate")
    clock.now += 50
    asking.get("/api/geolocate")
    clock.now += 11  # the first is 61 s old, the second 11 s
    assert statuses(asking, "/api/geolocate", 2) == [200, 429]


def test_all_routes_below_a_prefix_share_its_rates(clock: SimpleNamespace) -> None:
    asking = client(limited())
    assert statuses(asking, "/api/get-csrf-token", 3) == [200] * 3
    assert statuses(asking, "/api/geolocate", 2) == [200] * 2
    assert statuses(asking, "/api/get-csrf-token", 1) == [429]
    assert asking.get("/api/get-csrf-token").headers["retry-after"] == "3601"
    clock.now += 3601
    assert statuses(asking, "/api/get-csrf-token", 4) == [200, 200, 200, 429]  # 8 in the day
    clock.now += 3601
    assert statuses(asking, "/api/get-csrf-token", 1) == [429]
    assert int(asking.get("/api/x").headers["retry-after"]) == 86_400 - 7202 + 1


def test_the_longest_wait_is_told(clock: SimpleNamespace) -> None:
    asking = client(limited())
    statuses(asking, "/api/x", 3)
    statuses(asking, "/api/geolocate", 2)
    assert asking.get("/api/geolocate").headers["retry-after"] == "3601"


def test_what_is_refused_counts_against_nothing(clock: SimpleNamespace) -> None:
    asking = client(limited())
    assert statuses(asking, "/api/geolocate", 20).count(200) == 2
    assert statuses(asking, "/api/x", 4) == [200, 200, 200, 429]


def test_clients_do_not_share(clock: SimpleNamespace) -> None:
    app = limited()
    assert statuses(client(app), "/api/geolocate", 3) == [200, 200, 429]
    assert statuses(client(app, "203.0.113.8"), "/api/geolocate", 3) == [200, 200, 429]


def test_a_forwarded_address_is_not_believed(clock: SimpleNamespace) -> None:
    asking = client(limited())
    codes = [
        asking.get("/api/geolocate", headers={"X-Forwarded-For": f"198.51.100.{n}"}).status_code
        for n in range(3)
    ]
    assert codes == [200, 200, 429]


@pytest.mark.parametrize("path", ["/api/health", "/v1/analyze", "/apix", "/livez"])
def test_other_paths_are_not_counted(path: str) -> None:
    assert statuses(client(limited()), path, 30) == [200] * 30


@pytest.mark.parametrize("path", ["/api/geolocate/", "/api/geolocate/x"])
def test_what_lies_below_a_path_counts_with_it(clock: SimpleNamespace, path: str) -> None:
    asking = client(limited())
    assert statuses(asking, "/api/geolocate", 2) + statuses(asking, path, 1) == [200, 200, 429]


def test_off_is_no_limit() -> None:
    assert statuses(client(limited({"/api": ("off",)})), "/api/x", 300) == [200] * 300


@pytest.mark.parametrize(
    "rate", ["", "ten/minute", "10", "0/minute", "10/fortnight", "1/0 seconds", "-1/day"]
)
def test_what_is_no_rate_is_refused_at_start(rate: str) -> None:
    with pytest.raises(ConfigurationError, match="10/minute"):
        limited({"/api": (rate,)})


def test_off_beside_a_rate_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="off alone"):
        limited({"/api": ("off", "10/minute")})


async def test_the_body_is_not_read(clock: SimpleNamespace) -> None:
    async def receive() -> Message:
        raise AssertionError("nothing was to be received")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    app = limited({"/api": ("1/minute",)})
    for _ in range(2):
        scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/api/x", "headers": []}
        await app({**scope, "client": ("203.0.113.7", 1)}, receive, send)
    assert [each["status"] for each in sent if "status" in each] == [200, 429]


@pytest.mark.parametrize(
    ("peer", "counted_as"),
    [
        (("203.0.113.7", 1), "203.0.113.7"),
        (("::ffff:203.0.113.7", 1), "203.0.113.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("testclient", 1), "testclient"),
        (None, "local"),
    ],
)
def test_who_a_client_is(peer: tuple[str, int] | None, counted_as: str) -> None:
    assert client_of({"type": "http", "client": peer}) == counted_as


def test_one_ipv6_customer_is_one_client() -> None:
    network = ip_network("2001:db8::/64")
    assert len({client_of({"client": (str(address), 1)}) for address in (network[1], network[2**63])}) == 1


def test_several_paths_share_one_rate(clock: SimpleNamespace) -> None:
    asking = client(RateLimit(_ok, rates_by_prefix={("/a", "/b/"): ("2/60 seconds",), "/c": ("1/hour",)}))
    assert statuses(asking, "/a", 1) == [200]
    assert statuses(asking, "/b/deeper", 1) == [200]
    assert statuses(asking, "/a/deeper", 1) == [429]
    assert statuses(asking, "/c", 2) == [200, 429]
    assert statuses(asking, "/bb", 5) == [200] * 5
    clock.now += 61
    assert statuses(asking, "/b", 3) == [200, 200, 429]


@pytest.mark.parametrize("rate", ["2/minute", "2 per minute", "2/1 minute", "2/60 seconds", "2 / Minutes"])
def test_rates_are_read_as_people_write_them(clock: SimpleNamespace, rate: str) -> None:
    asking = client(limited({"/api": (rate,)}))
    assert statuses(asking, "/api/x", 3) == [200, 200, 429]
    assert asking.get("/api/x").headers["retry-after"] == "61"


def test_any_route_can_have_a_rate(clock: SimpleNamespace) -> None:
    rates = by_route(("4/hour", "/v1=2/minute", "/v1/analyze=1/second"), "SETTING")
    asking = client(RateLimit(_ok, rates_by_prefix=rates))
    assert statuses(asking, "/v1/analyze", 2) == [200, 429]
    assert statuses(asking, "/v1/models", 2) == [200, 429]
    assert statuses(asking, "/classify", 3) == [200, 200, 429]


def test_what_is_no_rate_of_a_route_is_refused_at_start() -> None:
    with pytest.raises(ConfigurationError, match="SETTING"):
        by_route(("v1=2/minute",), "SETTING")


async def test_a_key_is_counted_from_whatever_address_it_is_used(clock: SimpleNamespace) -> None:
    app = RateLimit(_ok, rates_by_prefix={}, key_rates_by_prefix=by_route(("2/minute",), "SETTING"))

    async def status(number: int | None, address: str) -> int:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        state = {} if number is None else {"api_key": number}
        scope = {"type": "http", "method": "GET", "path": "/v1/x", "headers": [], "client": (address, 1)}
        await app({**scope, "state": state}, lambda: None, send)  # type: ignore[arg-type]
        return int(sent[0]["status"])

    assert [await status(0, f"203.0.113.{n}") for n in range(3)] == [200, 200, 429]
    assert [await status(1, "203.0.113.1") for _ in range(3)] == [200, 200, 429]
    assert [await status(None, "203.0.113.1") for _ in range(5)] == [200] * 5, "no key, nothing to count"


def test_windows_that_are_over_are_forgotten(clock: SimpleNamespace) -> None:
    app = limited({"/api": ("1/minute",)})
    for number in range(1500):
        clock.now += 1
        assert client(app, f"10.0.{number // 250}.{number % 250}").get("/api/x").status_code == 200
    assert len(app._windows._times) < 600
