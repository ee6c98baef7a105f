"""A compute slot whose thread dies: the server says so, replaces it, and gives up after a few."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx2
import pytest

from sightline.runtime import lanes
from sightline.server.app import create_app, wrapped
from sightline.server.state import state_of_app
from sightline.settings import Settings

WAIT_S = 10.0
# The thread ends by an exception, as it is meant to.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def until(client: httpx2.Client, path: str, status: int) -> None:
    deadline = time.monotonic() + WAIT_S
    while client.get(path).status_code != status:
        assert time.monotonic() < deadline, f"{path} does not answer {status}"
        time.sleep(0.01)


Kill = Callable[[], None]


@pytest.fixture
def server(
    settings: Settings, listening_to: Callable[[object], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[httpx2.Client, Kill]]:
    monkeypatch.setattr(lanes, "LOOK_AFTER_S", 0.5)
    app = create_app(settings)
    slots = state_of_app(app).analyzer.engine._slots
    with httpx2.Client(base_url=listening_to(wrapped(app, settings)), trust_env=False) as client:

        def kill() -> None:
            def die() -> None:
                del slots._take  # only once
                raise SystemExit

            slots._take = die  # type: ignore[method-assign, assignment]
            with slots._ready:
                slots._ready.notify_all()

        yield client, kill


def test_a_dead_slot_is_seen_and_replaced(server: tuple[httpx2.Client, Kill], portrait: bytes) -> None:
    client, kill = server
    until(client, "/readyz", 200)
    kill()
    until(client, "/readyz", 503)
    until(client, "/readyz", 200)
    answer = client.post("/v1/operations/embed_clip", files={"image": portrait}, timeout=WAIT_S)
    assert answer.status_code == 200


def test_slots_that_die_again_and_again_are_given_up(
    server: tuple[httpx2.Client, Kill], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "MAX_RESTARTS", 2)
    client, kill = server
    for _ in range(2):
        until(client, "/livez", 200)
        kill()
        until(client, "/livez", 503)
    until(client, "/livez", 200)
    kill()
    until(client, "/livez", 503)
    time.sleep(3 * lanes.LOOK_AFTER_S)
    assert client.get("/livez").status_code == 503
    assert client.get("/readyz").status_code == 503
