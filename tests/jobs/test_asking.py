"""The same question here and at a server: the same entries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sightline.errors import InvalidParameters
from sightline.jobs import asking
from sightline.jobs.asking import Asked, ask_here, ask_there
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


async def test_a_task_that_fails_is_a_complaint(here: Settings, grey_image: Any, tmp_path: Path) -> None:
    task = Task("it", "classify_zero_shot", {"label_set": "none of that name"})
    (asked,) = await everything(ask_here(here, task, [str(grey_image(tmp_path / "a.png"))], 60))
    (line,) = asked.complaints()
    assert "no label set 'none of that name'" in line


async def test_a_question_that_cannot_be_is_said_once(
    here: Settings, serve: Any, grey_image: Any, tmp_path: Path
) -> None:
    sources = [str(grey_image(tmp_path / "a.png"))] * 3
    task = Task("it", "classify_zero_shot", {})
    with pytest.raises(InvalidParameters, match="either labels or label_set"):
        await everything(ask_here(here, task, sources, 60))
    url = str(serve(plugins_dir=here.plugins_dir).base_url)
    with pytest.raises(RunEnded, match="either labels or label_set"):
        await everything(ask_there(here, url, None, task, sources))


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


@pytest.mark.parametrize("body", [{}, {"images": []}, {"images": [{"image": None}, {}]}, [], {"images": 5}])
async def test_answers_of_a_stranger_end_the_run(body: Any) -> None:
    client = httpx2.AsyncClient(base_url="http://there")
    with pytest.raises(RunEnded, match="not a server of this kind"):
        asking._entry(Server(client), httpx2.Response(200, json=body))
    await client.aclose()
