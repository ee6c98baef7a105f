"""The same run here and at a server: the same file, from the same checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from sightline.errors import InvalidRequest
from sightline.imaging import ImageLimits
from sightline.jobs import server as server_module
from sightline.jobs.describing import RunEnded
from sightline.jobs.wildlife.checkpoint import checkpoint_beside
from sightline.jobs.wildlife.identification import Identification, PhotoStatus, Tally
from sightline.jobs.wildlife.identifying import Identifier, Query, identifying_here
from sightline.jobs.wildlife.inputs import Inputs
from sightline.jobs.wildlife.photos import PhotoFolder
from sightline.jobs.wildlife.places import Place, Places
from sightline.jobs.wildlife.predictions import PredictionsFormat
from sightline.jobs.wildlife.remote import identifying_there
from sightline.settings import Settings

NAIROBI = Place(latitude=-1.286, longitude=36.817)
DODOMA = Place(latitude=-6.17, longitude=35.74)

Identifying = AbstractAsyncContextManager[Identifier]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_FIRST_PAUSE_S", 0.001)


@pytest.fixture
def here(models_dir: Path, with_wildlife: Any, tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None, models_dir=models_dir, offline=True, plugins_dir=with_wildlife(tmp_path / "plugins")
    )


@pytest.fixture
def folder(tmp_path: Path, grey_image: Any) -> Path:
    """Photos with nothing, one, two and three things in them, and two that are none."""
    cameras = tmp_path / "cameras"
    for number in range(40, 60):
        grey_image(cameras / f"cam{number % 3}" / f"{number}.png", number)
    grey_image(cameras / "unlucky.png", 13)
    (cameras / "cam0" / "torn.jpg").write_bytes((cameras / "unlucky.png").read_bytes()[:60])
    return cameras


def query_of(settings: Settings, predictions_format: str = "speciesnet-4") -> Query:
    return Query.create(settings, {"format": predictions_format})


def there(
    url: object, settings: Settings, query: Query, *, with_places: bool = False, key: str | None = None
) -> Identifying:
    limits = ImageLimits.from_settings(settings)
    return identifying_there(str(url), query, limits, key, with_places=with_places)


async def run(
    identifying: Identifying, query: Query, folder: Path, out: Path, places: Places | None = None
) -> Tally:
    with checkpoint_beside(out) as checkpoint:
        async with identifying as identifier:
            job = Identification(
                Inputs(PhotoFolder(folder), places or Places()),
                query,
                identifier,
                checkpoint,
                lambda end: None,
            )
            await job.prepare(out)
            await job.run()
            job.write(out, PredictionsFormat(query.params["format"]))
    return job.tally


def kept(out: Path) -> dict[str, Any]:
    """What a checkpoint says: what it was begun with, and each photo's line."""
    header, *lines = map(json.loads, out.with_name(f"{out.name}.checkpoint.jsonl").read_text().splitlines())
    return {"begun_with": header["begun_with"], **{line["filepath"]: line for line in lines}}


@pytest.mark.parametrize("predictions_format", ["speciesnet-4", "speciesnet-5"])
@pytest.mark.parametrize(
    "places",
    [
        Places(),
        Places(Place("USA", "CA")),
        Places(NAIROBI, {"cam1/40.png": Place("UGA"), "cam2/41.png": DODOMA}),
    ],
    ids=["nowhere", "country", "coordinates"],
)
async def test_both_write_the_same_file_and_checkpoint(
    here: Settings, serve: Any, folder: Path, tmp_path: Path, predictions_format: str, places: Places
) -> None:
    query = query_of(here, predictions_format)
    url = serve(plugins_dir=here.plugins_dir).base_url
    with_places = places.has_coordinates
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    found = await run(identifying_here(here, query, with_places=with_places), query, folder, ours, places)
    asked = await run(there(url, here, query, with_places=with_places), query, folder, theirs, places)
    assert ours.read_bytes() == theirs.read_bytes()
    assert kept(ours) == kept(theirs)
    assert len(json.loads(theirs.read_text())["predictions"]) == 22
    assert (found.counts, found.warnings) == (asked.counts, asked.warnings)
    assert {each.photo: each.reason for each in found.failures} == {
        each.photo: each.reason for each in asked.failures
    }
    assert asked.counts[PhotoStatus.FAILED] == 2


async def test_a_run_that_began_here_goes_on_at_a_server_and_back(
    here: Settings, serve: Any, folder: Path, tmp_path: Path, grey_image: Any
) -> None:
    query, out = query_of(here), tmp_path / "predictions.json"
    url = serve(plugins_dir=here.plugins_dir).base_url
    await run(identifying_here(here, query, with_places=False), query, folder, out)
    grey_image(folder / "new.png", 77)
    tally = await run(there(url, here, query), query, folder, out)
    assert (tally.counts[PhotoStatus.IDENTIFIED], tally.counts[PhotoStatus.KEPT]) == (1, 20)
    grey_image(folder / "newer.png", 78)
    tally = await run(identifying_here(here, query, with_places=False), query, folder, out)
    assert (tally.counts[PhotoStatus.IDENTIFIED], tally.counts[PhotoStatus.KEPT]) == (1, 21)


async def test_weights_of_the_server_are_not_mixed_with_others(
    here: Settings, serve: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, out = query_of(here), tmp_path / "predictions.json"
    await run(identifying_here(here, query, with_places=False), query, folder, out)
    monkeypatch.setenv("STAND_IN_TAG", "p2")
    url = serve(plugins_dir=here.plugins_dir).base_url
    with pytest.raises(InvalidRequest, match=r"other models \(a-classifier, a-detector, an-ensemble\)"):
        await run(there(url, here, query), query, folder, out)


async def test_photos_are_under_way_together_and_so_in_batches(
    here: Settings, serve: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = tmp_path / "batches"
    monkeypatch.setenv("STAND_IN_BATCHES", str(batches))
    monkeypatch.setenv("STAND_IN_PAUSE_S", "0.05")
    (folder / "unlucky.png").unlink()  # a batch that fails is computed again in parts
    query = query_of(here)
    url = serve(plugins_dir=here.plugins_dir).base_url
    await run(there(url, here, query), query, folder, tmp_path / "predictions.json")
    blank, *sizes = map(int, batches.read_text().splitlines())
    assert (blank, sum(sizes), max(sizes)) == (1, 20, 4)


async def test_a_server_without_the_weights_is_said_before_any_photo(
    here: Settings, serve: Any, folder: Path, tmp_path: Path
) -> None:
    query = Query.create(here, {"format": "speciesnet-4", "version": "v4.0.2a"})
    client = serve(plugins_dir=here.plugins_dir)
    said = rf"the server at {str(client.base_url).rstrip('/')} says: speciesnet-v4.0.2a: missing .*sightline"
    with pytest.raises(RunEnded, match=said):
        await run(there(client.base_url, here, query), query, folder, tmp_path / "predictions.json")
    unknown = Query(query.catalogue, {**query.params, "version": "v9"})
    with pytest.raises(RunEnded, match="says: no model 'v9' gives species; these do"):
        await run(there(client.base_url, here, unknown), unknown, folder, tmp_path / "predictions.json")
    assert not any(tmp_path.glob("predictions.json*"))  # noqa: ASYNC240 - a test may wait


async def test_a_server_that_knows_no_places_is_said_before_any_photo(
    here: Settings, server_at: Any, folder: Path, tmp_path: Path, plugins_without_places: Path
) -> None:
    bare = Settings(
        _env_file=None, models_dir=tmp_path / "bare", offline=True, plugins_dir=plugins_without_places
    )
    query, out = query_of(here), tmp_path / "out.json"
    with server_at(bare) as url:
        with pytest.raises(RunEnded, match="says: places: missing"):
            await run(there(url, here, query, with_places=True), query, folder, out, Places(NAIROBI))
        await run(there(url, here, query), query, folder, out)


@pytest.fixture
def plugins_without_places(here: Settings) -> Path:
    assert here.plugins_dir
    plugin = here.plugins_dir / "models" / "wildlife.py"
    text = plugin.read_text()
    plugin.write_text(text.replace('    model("a-gazetteer", PLACES, Places),\n', ""))
    return here.plugins_dir


async def test_files_past_the_limits_are_not_sent(here: Settings, serve: Any, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(2000))
    settings = here.model_copy(update={"image_max_bytes": 1000})
    query = query_of(here)
    async with there(serve(plugins_dir=here.plugins_dir).base_url, settings, query) as identifier:
        with pytest.raises(Exception, match="1000"):
            await identifier.identify(large, Place())


@pytest.mark.parametrize(("key", "said"), [(None, "wants an API key"), ("wrong", "wants an API key")])
async def test_who_may_not_ask_is_told_so(here: Settings, serve: Any, key: str | None, said: str) -> None:
    url = serve(plugins_dir=here.plugins_dir, api_keys=("right",)).base_url
    async with there(url, here, query_of(here), key=key) as identifier:
        with pytest.raises(RunEnded, match=said):
            await identifier.load()
    async with there(url, here, query_of(here), key="right") as identifier:
        assert sorted(await identifier.load()) == ["a-classifier", "a-detector", "an-ensemble"]


# -- servers that do what ours does only now and then ------------------------------------------------------

MODELS = [{"name": name, "fingerprint": "1", "provenance": "pulled"} for name in ("net", "rules", "towns")]
GOOD = {"status": "ok", "data": {"filepath": "x", "score": 1.0}, "model": MODELS[0], "models": MODELS}


class Told:
    """Answers each question about a picture with what it was told next, then with a good result."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.tasks: list[Any] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        if request.url.path == "/v1/places":
            await JSONResponse({"model": MODELS[2]})(scope, receive, send)
            return
        async with request.form() as form:
            self.tasks.append(json.loads(str(form["tasks"])))
        told = self.answers.pop(0) if self.answers else GOOD
        status, body = told if isinstance(told, tuple) else (200, told)
        if status == 200 and isinstance(body, dict) and "status" in body:
            body = {"images": [{"image": {}, "results": {"animals": body}}]}
        await JSONResponse(body, status)(scope, receive, send)


@pytest.fixture
def told(here: Settings, listening_to: Any) -> Callable[..., tuple[Told, Identifying]]:
    def start(*answers: Any, with_places: bool = False) -> tuple[Told, Identifying]:
        script = Told(*answers)
        return script, there(listening_to(script), here, query_of(here), with_places=with_places)

    return start


async def test_models_that_change_under_way_end_the_run(told: Any, folder: Path) -> None:
    other = {**GOOD, "models": [{**MODELS[0], "fingerprint": "2"}, *MODELS[1:]]}
    script, identifying = told(GOOD, GOOD, other)
    async with identifying as identifier:
        assert await identifier.load() == {"net": "1", "rules": "1", "towns": "1"}
        found = await identifier.identify(folder / "unlucky.png", Place("KEN"))
        assert (found.entry, found.warnings) == ({"filepath": "x", "score": 1.0}, ())
        with pytest.raises(RunEnded, match=r"net of the server at .* is another than when this run began"):
            await identifier.identify(folder / "unlucky.png", Place("KEN"))
    ((task,),) = script.tasks[1:2]
    assert task == {
        "id": "animals",
        "operation": "identify_species",
        "params": {"version": "v4.0.3a", "format": "speciesnet-4", "min_confidence": 0.1, "country": "KEN"},
    }


async def test_a_server_that_names_one_model_only_is_too_old(told: Any) -> None:
    _, identifying = told({name: GOOD[name] for name in ("status", "data", "model")})
    async with identifying as identifier:
        with pytest.raises(RunEnded, match="older than this command"):
            await identifier.load()


async def test_a_photo_whose_coordinates_were_not_looked_up_fails(told: Any, folder: Path) -> None:
    """Its country would be missing in the file, and nothing ruled out, only because the server was busy."""
    hurried = {
        **GOOD,
        "models": MODELS[:2],
        "warnings": ["coordinates were not looked up: the queue is full"],
    }
    _, identifying = told(GOOD, hurried, with_places=True)
    async with identifying as identifier:
        await identifier.load()
        with pytest.raises(Exception, match="the queue is full") as raised:
            await identifier.identify(folder / "unlucky.png", NAIROBI)
        assert not isinstance(raised.value, RunEnded)
        assert (await identifier.identify(folder / "unlucky.png", Place("KEN"))).warnings == ()


async def test_a_busy_server_is_asked_again(told: Any, folder: Path) -> None:
    busy = (429, {"code": "overloaded", "detail": "the queue is full"})
    script, identifying = told(busy, GOOD, busy, busy, GOOD)
    async with identifying as identifier:
        await identifier.load()
        await identifier.identify(folder / "unlucky.png", Place())
    assert len(script.tasks) == 5


@pytest.mark.parametrize(
    ("answer", "ends_run"),
    [
        ({"status": "error", "data": None, "error": {"code": "model_broken", "message": "torn"}}, True),
        ({"status": "error", "data": None, "error": {"code": "inference_failed", "message": "torn"}}, False),
        ((422, {"code": "invalid_image", "detail": "torn"}), False),
        ((503, {"code": "model_unavailable", "detail": "torn"}), True),
        ((422, {"code": "unknown_operation", "detail": "torn"}), True),
    ],
)
async def test_what_concerns_one_photo_and_what_all(
    told: Any, folder: Path, answer: Any, ends_run: bool
) -> None:
    _, identifying = told(GOOD, answer)
    async with identifying as identifier:
        await identifier.load()
        with pytest.raises(Exception, match="torn") as raised:
            await identifier.identify(folder / "unlucky.png", Place())
    assert isinstance(raised.value, RunEnded) == ends_run


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}),
        (200, {"images": []}),
        (200, {"images": [{"results": {}}]}),
        (200, {"images": [{"results": {"a": 5}}]}),
        (404, {"detail": "Not Found"}),
        {"status": "ok"},
        {"status": "ok", "data": None, "model": MODELS[0]},
        {"status": "ok", "data": ["a"], "model": MODELS[0]},
        {"status": "ok", "data": {}, "model": None},
        {"status": "ok", "data": {}, "models": [5]},
        {"status": "ok", "data": {}, "models": MODELS, "warnings": 5},
        {"status": "skipped", "data": None},
        {"status": "error", "data": None, "error": 5},
        {"status": "error", "data": None, "error": {"code": "inference_failed"}},
    ],
)
async def test_answers_of_a_stranger_end_the_run(told: Any, answer: Any) -> None:
    _, identifying = told(answer)
    async with identifying as identifier:
        with pytest.raises(RunEnded, match="not a server of this kind"):
            await identifier.load()
