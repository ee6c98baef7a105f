"""Describing through a server: the real one on loopback, and one that misbehaves as it is told to."""

from __future__ import annotations

import asyncio
import email.utils
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sightline.errors import InvalidRequest, SightlineError, TargetNotFound
from sightline.imaging import ImageLimits
from sightline.jobs import server as server_module
from sightline.jobs.describing import Description, RunEnded
from sightline.jobs.remote import describing_there
from sightline.settings import Settings

LIMITS = ImageLimits.from_settings(Settings(_env_file=None))
STAND_IN = {"model": "stand-in"}


# -- the real one ------------------------------------------------------------------------------------------


@pytest.fixture
def url(serve, tmp_path: Path, with_captioner) -> str:
    return str(serve(plugins_dir=with_captioner(tmp_path / "plugins"), api_keys=("key",)).base_url)


async def test_the_server_describes_many_at_once(url: str, tmp_path: Path, grey_image) -> None:
    images = [grey_image(tmp_path / f"{number}.png", 20 + number) for number in range(6)]
    async with describing_there(url, {**STAND_IN, "max_length": 9}, LIMITS, "key") as describer:
        described = await asyncio.gather(*(describer.describe(image) for image in images))
    assert [each.text for each in described] == [f"all of grey {20 + n} in 9 words" for n in range(6)]


async def test_an_image_fails_for_itself(url: str, tmp_path: Path, grey_image) -> None:
    (tmp_path / "text.jpg").write_text("no picture at all")
    small = ImageLimits(max_bytes=200, max_pixels=LIMITS.max_pixels, max_side=LIMITS.max_side)
    (tmp_path / "large.jpg").write_bytes(bytes(201))
    async with describing_there(url, STAND_IN, small, "key") as describer:
        with pytest.raises(SightlineError, match="Could not process image: This is not an image"):
            await describer.describe(tmp_path / "text.jpg")
        with pytest.raises(SightlineError, match="200"):
            await describer.describe(tmp_path / "large.jpg")
        with pytest.raises(InvalidRequest, match="cannot be read"):
            await describer.describe(tmp_path / "gone.jpg")
        with pytest.raises(SightlineError, match="stand-in failed on this input") as failed:
            await describer.describe(grey_image(tmp_path / "unlucky.png", 13))
        assert not isinstance(failed.value, RunEnded)
        assert (await describer.describe(grey_image(tmp_path / "a.png"))).text


async def test_names_need_not_be_text(url: str, tmp_path: Path, grey_image) -> None:
    odd = tmp_path / 'lone \udcff "quoted"\nand broken.png'
    grey_image(odd)
    async with describing_there(url, STAND_IN, LIMITS, "key") as describer:
        assert (await describer.describe(odd)).text


async def test_a_face_that_is_not_there_is_no_failure(url: str, tmp_path: Path, grey_image) -> None:
    params = {**STAND_IN, "target": "prominent_face", "face_context": "whole_image"}
    async with describing_there(url, params, LIMITS, "key") as describer:
        with pytest.raises(TargetNotFound, match="No prominent face"):
            await describer.describe(grey_image(tmp_path / "a.png"))


async def test_weights_missing_there_end_the_run(url: str, tmp_path: Path, grey_image) -> None:
    async with describing_there(url, {}, LIMITS, "key") as describer:
        with pytest.raises(RunEnded, match=r"says: .*sightline models "):
            await describer.describe(grey_image(tmp_path / "a.png"))


@pytest.mark.parametrize("key", [None, "wrong"])
async def test_a_key_that_is_missing_is_asked_for(url: str, key: str | None) -> None:
    with pytest.raises(RunEnded, match="--api-key"):
        async with describing_there(url, {}, LIMITS, key):
            pass


async def test_a_server_that_goes_by_other_names_says_so(serve) -> None:
    url = str(serve(allowed_hosts=("photos.example",)).base_url)
    with pytest.raises(RunEnded, match=r"HTTP 400: .*SIGHTLINE_ALLOWED_HOSTS"):
        async with describing_there(url, {}, LIMITS):
            pass


async def test_a_model_that_is_not_there_is_noticed_at_once(url: str) -> None:
    with pytest.raises(RunEnded, match=r"no model 'nobody', only .*stand-in"):
        async with describing_there(url, {"model": "nobody"}, LIMITS, "key"):
            pass


# -- one that misbehaves -----------------------------------------------------------------------------------

Answer = tuple[int, dict[str, str], Any]
OPERATIONS = (
    200,
    {},
    {"operations": {"describe_image": {"allowed_targets": ["whole_image", "prominent_face"]}}},
)


def captioned(**result: Any) -> Answer:
    return 200, {}, {"image_url": "x", "results": {"caption": {"status": "success", **result}}}


class Script:
    """Answers uploads with ``uploads``, one after the other, the last one for ever; None hangs up."""

    def __init__(self) -> None:
        self.operations: Answer = OPERATIONS
        self.models: Answer = (404, {}, {"detail": "Not Found"})
        self.uploads: list[Answer | None] = [captioned(data="words")]
        self.uploaded: list[tuple[float, bytes]] = []
        self.url = ""


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send(script.models if self.path == "/v1/models" else script.operations)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            script.uploaded.append((time.monotonic(), body))
            answer = script.uploads[0] if len(script.uploads) == 1 else script.uploads.pop(0)
            if answer is None:
                self.close_connection = True
            else:
                self.send(answer)

        def send(self, answer: Answer) -> None:
            status, headers, body = answer
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            """Test output is for tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    yield script
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_FIRST_PAUSE_S", 0.01)


@pytest.fixture
def describe(tmp_path: Path, grey_image) -> Callable[..., Any]:
    image = grey_image(tmp_path / "photo.jpg")

    async def ask(script: Script, **params: Any) -> Description:
        async with describing_there(script.url, params, LIMITS) as describer:
            return await describer.describe(image)

    return ask


async def test_the_request_is_the_contract_s(script: Script, describe) -> None:
    await describe(script, target="whole_image", max_length=30)
    ((_, body),) = script.uploaded
    assert b'name="image_file"; filename="photo.jpg"\r\nContent-Type: image/jpeg' in body
    assert json.loads(body.partition(b'name="tasks_json"\r\n\r\n')[2].partition(b"\r\n")[0]) == [
        {
            "operation_id": "caption", "type": "describe_image",
            "params": {"target": "whole_image", "max_length": 30},
        }
    ]  # fmt: skip


async def test_warnings_come_along(script: Script, describe) -> None:
    status, _, body = captioned(data="words")
    script.uploads = [(status, {"X-Sightline-Warning": "made up"}, body)]
    assert await describe(script) == Description("words", ("made up",))


@pytest.mark.parametrize(("status", "style"), [(429, "seconds"), (503, "date")])
async def test_a_busy_server_is_asked_again_when_it_said(
    script: Script, describe, quick, status: int, style: str
) -> None:
    # A date has whole seconds: two from now are more than one.
    wait = {"seconds": "1", "date": email.utils.formatdate(time.time() + 2, usegmt=True)}[style]
    script.uploads = [(status, {"Retry-After": wait}, {"detail": "busy"}), captioned(data="words")]
    assert (await describe(script)).text == "words"
    (first, _), (second, body) = script.uploaded
    assert second - first >= 0.9
    assert b"photo.jpg" in body


async def test_all_wait_when_one_is_told_to(script: Script, quick, tmp_path: Path, grey_image) -> None:
    script.uploads = [(429, {"Retry-After": "1"}, {}), captioned(data="words")]
    image = grey_image(tmp_path / "a.png")
    async with describing_there(script.url, {}, LIMITS) as describer:
        first = asyncio.create_task(describer.describe(image))
        while not script.uploaded:  # noqa: ASYNC110 - the server is in another thread
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await asyncio.gather(first, describer.describe(image))
    (refused, _), *later = script.uploaded
    assert all(at - refused >= 0.9 for at, _ in later)


async def test_pauses_grow_while_a_server_says_nothing_of_when(script: Script, describe, quick) -> None:
    script.uploads = [*[(503, {"Retry-After": "soon"}, {})] * 5, captioned(data="words")]
    assert (await describe(script)).text == "words"
    at = [moment for moment, _ in script.uploaded]
    assert len(at) == 6
    assert at[5] - at[4] >= 0.15  # 0.01 s, doubled four times


async def test_patience_ends_when_the_server_asks_for_more_than_that(script: Script, describe) -> None:
    script.uploads = [(429, {"Retry-After": "86400"}, {"detail": "come back tomorrow"})]
    with pytest.raises(RunEnded, match="come back tomorrow"):
        await describe(script)
    assert len(script.uploaded) == 1


@pytest.mark.parametrize("answer", [None, (504, {}, {}), (502, {}, b"<html>")])
async def test_lost_answers_are_asked_for_three_times(script: Script, describe, quick, answer) -> None:
    script.uploads = [answer, answer, captioned(data="words")]
    assert (await describe(script)).text == "words"
    script.uploads, script.uploaded = [answer], []
    with pytest.raises(SightlineError) as failed:
        await describe(script)
    assert not isinstance(failed.value, RunEnded)
    assert len(script.uploaded) == 3


@pytest.mark.parametrize("status", [400, 413, 415, 422, 500])
async def test_refusals_of_an_image_are_passed_on(script: Script, describe, status: int) -> None:
    script.uploads = [(status, {}, {"detail": "not this one"})]
    with pytest.raises(SightlineError, match=r"^not this one$") as failed:
        await describe(script)
    assert not isinstance(failed.value, RunEnded)
    script.uploads = [(status, {}, b"<html>")]
    with pytest.raises(SightlineError, match=f"^HTTP {status}$"):
        await describe(script)


@pytest.mark.parametrize(
    "answer",
    [
        (404, {}, {"detail": "Not Found"}), (308, {"Location": "https://example.org"}, b""),
        (200, {}, b"<html>"), (200, {}, []), (200, {}, {"results": {}}), (200, {}, {"results": None}),
    ],
)  # fmt: skip
async def test_strangers_end_the_run(script: Script, describe, answer: Answer) -> None:
    script.uploads = [answer]
    with pytest.raises(RunEnded, match="is the URL right"):
        await describe(script)
    script.operations = answer
    with pytest.raises(RunEnded, match="is the URL right"):
        await describe(script)


async def test_a_server_that_cannot_is_noticed_before_anything_is_sent(script: Script, describe) -> None:
    with pytest.raises(RunEnded, match="describes no prominent_person, only whole_image, prominent_face"):
        await describe(script, target="prominent_person")
    script.operations = (200, {}, {"operations": {}})
    with pytest.raises(RunEnded, match="no operation describe_image"):
        await describe(script)
    assert script.uploaded == []


async def test_a_skipped_task_is_about_the_image_only_if_it_was_to_find_a_face(
    script: Script, describe
) -> None:
    script.uploads = [captioned(status="skipped", error_message="nothing to see")]
    with pytest.raises(TargetNotFound, match="nothing to see"):
        await describe(script, target="prominent_face")
    with pytest.raises(RunEnded, match="nothing to see"):
        await describe(script)


async def test_a_failed_task_ends_the_run_if_a_model_has_that_problem(script: Script, describe) -> None:
    script.uploads = [captioned(status="error", error_message="Internal error: no weights; get them")]
    with pytest.raises(SightlineError, match="get them") as failed:  # no list of models at all
        await describe(script)
    assert not isinstance(failed.value, RunEnded)
    model = {"name": "m", "capabilities": ["caption"], "problem": None}
    for problem, ends in ((None, False), ("another", False), ("no weights; get them", True)):
        script.models = (200, {}, {"models": [{**model, "problem": problem}]})
        with pytest.raises(SightlineError) as failed:
            await describe(script)
        assert isinstance(failed.value, RunEnded) is ends


async def test_a_server_that_was_never_there_ends_the_run_at_once() -> None:
    with pytest.raises(RunEnded, match=r"no server answers at http://127\.0\.0\.1:9 "):
        async with describing_there("http://user:secret@127.0.0.1:9", {}, LIMITS):
            pass


async def test_a_server_that_went_away_is_waited_for_a_while(
    script: Script, quick, tmp_path: Path, grey_image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_GONE", server_module._Patience(seconds=0.3))
    image = grey_image(tmp_path / "a.png")
    async with describing_there(script.url, {}, LIMITS) as describer:
        describer._server.client.base_url = "http://127.0.0.1:9"  # as if it had gone
        asking = asyncio.create_task(describer.describe(image))
        await asyncio.sleep(0.05)
        describer._server.client.base_url = script.url
        assert (await asking).text == "words"
        describer._server.client.base_url = "http://127.0.0.1:9"
        with pytest.raises(RunEnded, match="no server answers"):
            await describer.describe(image)


@pytest.mark.parametrize("url", ["localhost:8000", "", "ftp://host", "http://", "host", "http://a:b"])
async def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="is no address of a server"):
        async with describing_there(url, {}, LIMITS):
            pass


@pytest.mark.parametrize("key", ["two words", "schlüssel", "line\nbreak"])
async def test_a_key_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest, match="API key"):
        async with describing_there("http://127.0.0.1:9", {}, LIMITS, key):
            pass


async def test_paths_before_the_routes_are_kept(script: Script, describe, grey_image, tmp_path: Path) -> None:
    async with describing_there(script.url + "/behind/proxy/", {}, LIMITS) as describer:
        assert (await describer.describe(grey_image(tmp_path / "a.png"))).text == "words"
