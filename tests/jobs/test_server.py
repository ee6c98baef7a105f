from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from sightline.errors import InvalidRequest
from sightline.jobs import server as server_module
from sightline.jobs.describing import RunEnded
from sightline.jobs.server import Server, code_of, said, server_at


def answering(*answers: tuple[int, Any]) -> tuple[Server, list[str]]:
    """A server that gives these answers in turn, then 200; and what it was asked."""
    asked: list[str] = []
    waiting = list(answers)

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        status, body = waiting.pop(0) if waiting else (200, {})
        return httpx2.Response(status, content=json.dumps(body))

    client = httpx2.AsyncClient(base_url="http://user:secret@there", transport=httpx2.MockTransport(answer))
    return Server(client), asked


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_FIRST_PAUSE_S", 0.001)


async def test_a_busy_server_is_asked_again() -> None:
    server, asked = answering((503, {"detail": "busy"}), (429, {"detail": "busy"}))
    assert (await server.ask("GET", "x")).status_code == 200
    assert len(asked) == 3


@pytest.mark.parametrize("code", ["model_unavailable", "model_broken"])
async def test_a_server_without_the_model_is_not_asked_again(code: str) -> None:
    server, asked = answering((503, {"detail": "no weights", "code": code}))
    assert (await server.ask("GET", "x")).status_code == 503
    assert len(asked) == 1


async def test_a_model_that_is_being_loaded_is_waited_for() -> None:
    server, asked = answering((503, {"detail": "loading", "code": "model_loading"}))
    assert (await server.ask("GET", "x")).status_code == 200
    assert len(asked) == 2


@pytest.mark.parametrize(("status", "problem"), [(401, "--api-key"), (403, "--api-key"), (404, "HTTP 404")])
def test_what_is_no_answer_for_anybody_ends_the_run(status: int, problem: str) -> None:
    server, _ = answering()
    with pytest.raises(RunEnded, match=problem) as caught:
        server.admit(httpx2.Response(status))
    assert "secret" not in str(caught.value)
    server.admit(httpx2.Response(200))


@pytest.mark.parametrize(
    ("content", "words", "code"),
    [
        (b'{"detail": "no", "code": "x"}', "no", "x"),
        (b'{"detail": ["no"]}', "HTTP 418", None),
        (b"<html>", "HTTP 418", None),
        (b"[]", "HTTP 418", None),
        (b'{"detail": ""}', "HTTP 418", None),
    ],
)
def test_the_words_of_a_refusal(content: bytes, words: str, code: str | None) -> None:
    response = httpx2.Response(418, content=content)
    assert (said(response), code_of(response)) == (words, code)


@pytest.mark.parametrize(
    ("url", "key", "problem"),
    [
        ("there", None, "no address of a server"),
        ("ftp://there", None, "no address of a server"),
        ("http://", None, "no address of a server"),
        ("http://there", "two words", "printable ASCII"),
        ("http://there", "schlüssel", "printable ASCII"),
    ],
)
async def test_addresses_and_keys_that_cannot_be(url: str, key: str | None, problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        async with server_at(url, key):
            pass
