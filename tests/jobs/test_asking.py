"""The same question here and at a server: the same entries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sightline.errors import InputError, InvalidParameters
from sightline.jobs import asking
from sightline.jobs.asking import Asked, QuestionRefused, ask_here, ask_there
from sightline.jobs.describing import RunEnded
from sightline.jobs.server import Server
from sightline.runtime.analyzer import Task
from sightline.settings import Settings

TASK = Task("greyness", "classify_zero_shot", {"labels": ["map", "dog"]})


@pytest.fixture
def here(models_dir: Path, with_colours: Any, tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None, models_dir=models_dir, offline=True, plugins_dir=with_colours(tmp_path / "plugins")
    )


async def everything(answers: AsyncIterator[Asked]) -> list[Asked]:
    return [each async for each in answers]


def without_times(asked: Asked) -> dict[str, Any]:
    results = {
        name: {key: value for key, value in result.items() if key != "timing_ms"}
        for name, result in asked.entry["results"].items()
    }
    error = (asked.entry.get("error") or {}).get("message")
    return {"source": asked.source, "image": asked.entry["image"], "results": results, "error": error}


async def test_both_answer_alike_and_in_order(
    here: Settings, serve: Any, grey_image: Any, tmp_path: Path
) -> None:
    images = [str(grey_image(tmp_path / f"{number}.png", 20 * number)) for number in range(9)]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    sources = [*images[:4], str(bad), str(tmp_path / "none.png"), *images[4:]]
    client = serve(plugins_dir=here.plugins_dir)
    ours = await everything(ask_here(here, TASK, sources, 60))
    theirs = await everything(ask_there(here, str(client.base_url), None, TASK, sources))
    assert [each.source for each in ours] == sources
    assert [without_times(each) for each in ours] == [without_times(each) for each in theirs]
    for answers in (ours, theirs):
        complaints = [line for each in answers for line in each.complaints()]
        assert len(complaints) == 2
        assert complaints[0].startswith(f"{bad}: This is not an image")
        assert complaints[1].startswith(f"{tmp_path / 'none.png'}: cannot be read")


@pytest.fixture
def photos(grey_image: Any, tmp_path: Path) -> list[str]:
    return [str(grey_image(tmp_path / f"{number}.png", 20 * number)) for number in range(6)]


async def test_a_task_that_fails_on_a_photo_is_a_complaint(
    here: Settings, photos: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNLUCKY", "1")
    answers = await everything(ask_here(here, TASK, photos, 60))
    assert [each.source for each in answers] == photos
    for asked in answers:
        (line,) = asked.complaints()
        assert line == f"{asked.source}: a-looker failed on this input (ValueError)"


async def test_a_question_that_cannot_be_is_said_once(here: Settings, serve: Any, photos: list[str]) -> None:
    task = Task("it", "classify_zero_shot", {})
    with pytest.raises(InvalidParameters, match="either labels or label_set"):
        await everything(ask_here(here, task, photos, 60))
    url = str(serve(plugins_dir=here.plugins_dir).base_url)
    with pytest.raises(QuestionRefused, match=r"says: .*either labels or label_set"):
        await everything(ask_there(here, url, None, task, photos))


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"label_set": "none of that name"}, "no label set 'none of that name'"),
        ({"labels": ["map", "dog"], "model": "clip"}, "no model 'clip'"),
    ],
)
async def test_what_only_answers_can_say_of_a_question_ends_the_run_too(
    here: Settings, serve: Any, photos: list[str], tmp_path: Path, params: dict[str, Any], problem: str
) -> None:
    sources = [str(tmp_path / "none.png"), *photos]
    task = Task("it", "classify_zero_shot", params)
    url = str(serve(plugins_dir=here.plugins_dir).base_url)
    for answers in (ask_here(here, task, sources, 60), ask_there(here, url, None, task, sources)):
        assert (await anext(answers)).entry["error"], "that photo is not there"
        with pytest.raises(QuestionRefused, match=problem) as caught:
            await everything(answers)
        assert isinstance(caught.value, InputError)


async def test_missing_weights_end_the_run_and_are_no_mistake(
    here: Settings, serve: Any, photos: list[str]
) -> None:
    task = Task("it", "classify_zero_shot", {"labels": ["map", "dog"], "model": "clip-vit-l-14"})
    url = str(serve(plugins_dir=here.plugins_dir).base_url)
    for answers in (ask_here(here, task, photos, 60), ask_there(here, url, None, task, photos)):
        with pytest.raises(RunEnded, match=r"clip-vit-l-14.*: missing .*sightline models") as caught:
            await everything(answers)
        assert not isinstance(caught.value, InputError)


class Script:
    """A server that answers like ``/v1/analyze`` and counts the photos it got. ``fails``: with what code."""

    def __init__(self, fails: str | None) -> None:
        self.app = Starlette(routes=[Route("/v1/analyze", self._answer, methods=["POST"])])
        self.asked = 0
        self._fails = fails

    async def _answer(self, request: Request) -> JSONResponse:
        self.asked += 1
        result: dict[str, Any] = {"status": "ok", "data": {}}
        if self._fails:
            result = {"status": "error", "data": None, "error": {"code": self._fails, "message": "for this"}}
        return JSONResponse({"images": [{"image": None, "results": {"it": result}}]})


@pytest.mark.parametrize(
    ("code", "mistaken"),
    [
        ("invalid_parameters", True),
        ("unknown_model", True),
        ("model_unavailable", False),
        ("model_broken", False),
    ],
)
async def test_no_second_photo_is_sent_with_a_hopeless_question(
    here: Settings, listening_to: Any, photos: list[str], code: str, mistaken: bool
) -> None:
    there = Script(code)
    with pytest.raises(RunEnded, match=r"the server at http.* says: for this") as caught:
        await everything(ask_there(here, listening_to(there.app), None, TASK, photos))
    assert isinstance(caught.value, QuestionRefused) == mistaken
    assert there.asked == 1


@pytest.mark.parametrize("code", [None, "inference_failed", "deadline_exceeded", "model_loading"])
async def test_every_photo_is_sent_when_each_may_be_answered(
    here: Settings, listening_to: Any, photos: list[str], code: str | None
) -> None:
    there = Script(code)
    answers = await everything(ask_there(here, listening_to(there.app), None, TASK, photos))
    assert [each.source for each in answers] == photos
    assert [list(each.complaints()) for each in answers] == [
        [f"{photo}: for this"] if code else [] for photo in photos
    ]
    assert there.asked == len(photos)


async def test_a_server_that_goes_by_other_names_is_said_once(
    here: Settings, serve: Any, grey_image: Any, tmp_path: Path
) -> None:
    url = str(serve(plugins_dir=here.plugins_dir, allowed_hosts=("photos.example",)).base_url)
    with pytest.raises(RunEnded, match=r"the server at .* says: .* SIGHTLINE_ALLOWED_HOSTS"):
        await everything(ask_there(here, url, None, TASK, [str(grey_image(tmp_path / "a.png"))]))


async def test_files_past_the_limits_are_not_sent(here: Settings, serve: Any, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(2000))
    settings = here.model_copy(update={"image_max_bytes": 1000})
    url = str(serve(plugins_dir=here.plugins_dir).base_url)
    (asked,) = await everything(ask_there(settings, url, None, TASK, [str(large)]))
    assert asked.entry["error"]["code"] == "image_too_large"


async def test_urls_are_fetched_by_the_server(here: Settings, serve: Any) -> None:
    url = str(serve(plugins_dir=here.plugins_dir).base_url)
    (asked,) = await everything(ask_there(here, url, None, TASK, ["http://127.0.0.1/secret.png"]))
    assert asked.entry["error"]["code"] == "url_refused"


@pytest.mark.parametrize(
    "entry",
    [
        {"image": None},
        {"results": []},
        {"results": {"it": {}}},
        {"results": {"it": 5}},
        {"results": {"it": {"status": "error", "error": None}}},
    ],
)
async def test_entries_of_a_stranger_end_the_run(
    here: Settings, listening_to: Any, photos: list[str], entry: Any
) -> None:
    async def answer(request: Request) -> JSONResponse:
        return JSONResponse({"images": [entry]})

    url = listening_to(Starlette(routes=[Route("/v1/analyze", answer, methods=["POST"])]))
    with pytest.raises(RunEnded, match="not a server of this kind"):
        await everything(ask_there(here, url, None, TASK, photos))


@pytest.mark.parametrize("body", [{}, {"images": []}, {"images": [{"image": None}, {}]}, [], {"images": 5}])
async def test_answers_of_a_stranger_end_the_run(body: Any) -> None:
    client = httpx2.AsyncClient(base_url="http://there")
    with pytest.raises(RunEnded, match="not a server of this kind"):
        asking._entry(Server(client), httpx2.Response(200, json=body))
    await client.aclose()
