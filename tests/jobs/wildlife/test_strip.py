"""The strip that camera traps print: the parser, and runs over drawn photos with the released networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from sightline import models
from sightline.imaging import Capture, ImageLimits, read_capture
from sightline.jobs.wildlife.checkpoint import checkpoint_beside
from sightline.jobs.wildlife.identification import Identification
from sightline.jobs.wildlife.identifying import Printed, Query, identifying_here
from sightline.jobs.wildlife.inputs import Inputs
from sightline.jobs.wildlife.photos import PhotoFolder
from sightline.jobs.wildlife.places import Place, Places
from sightline.jobs.wildlife.predictions import PredictionsFormat
from sightline.jobs.wildlife.remote import identifying_there
from sightline.jobs.wildlife.strip import WithStrip, read_strip
from sightline.runtime.residency import wanted
from sightline.settings import Settings
from sightline.weights.store import Store

MAX_BYTES = 10_000_000


def values(*lines: str, middle: float = 0.97) -> dict[str, Any]:
    found = read_strip([Printed(line, 0.9, middle) for line in lines])
    assert all(field["source"] == "strip" and field["score"] == 0.9 for field in found.values())
    return {name: field["value"] for name, field in found.items()}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2021-05-14 06:32:10 12°C", {"date": "2021-05-14", "time": "06:32:10", "temperature_c": 12}),
        ("2021/05/14 6:32 PM 54°F", {"date": "2021-05-14", "time": "18:32:00", "temperature_c": 12.2}),
        ("14.05.2021 00:07", {"date": "2021-05-14", "time": "00:07:00"}),
        ("05/14/2021 12:05AM", {"date": "2021-05-14", "time": "00:05:00"}),
        ("31/12/2020 23:59:59", {"date": "2020-12-31", "time": "23:59:59"}),
        ("14 MAY 2021 11:00", {"date": "2021-05-14", "time": "11:00:00"}),
        ("03/04/2021 11:00 59F", {"date": "2021-03-04", "time": "11:00:00", "temperature_c": 15}),
        ("03/04/2021 11:00 15C", {"date": None, "time": "11:00:00", "temperature_c": 15}),
        ("03.04.2021 -5°C 23°F", {"date": "2021-04-03", "temperature_c": -5}),
        ("-12℃ 04:05:06", {"temperature_c": -12, "time": "04:05:06"}),
        (
            "NORTH GATE 2 2021-05-14 07:00",
            {"date": "2021-05-14", "time": "07:00:00", "camera": "NORTH GATE 2"},
        ),
        ("2021-13-40 25:99 999°C", {}),
        ("ROAD CLOSED", {}),
        ("", {}),
    ],
)
def test_a_strip_is_taken_apart(line: str, expected: dict[str, Any]) -> None:
    assert values(line) == expected


def test_lines_of_a_strip_are_read_together_and_each_field_names_its_text() -> None:
    found = read_strip(
        [Printed("RIVER-07", 0.8, 0.95), Printed("2021-05-14", 0.99, 0.96), Printed("18°C", 0.7, 0.96)]
    )
    assert found["camera"] == {"value": "RIVER-07", "source": "strip", "score": 0.8, "text": "RIVER-07"}
    assert found["temperature_c"] == {"value": 18, "source": "strip", "score": 0.7, "text": "18°C"}


@pytest.mark.parametrize(("middle", "is_strip"), [(0.05, True), (0.5, False), (0.97, True)])
def test_text_in_the_scene_is_no_strip(middle: float, is_strip: bool) -> None:
    assert bool(values("2021-05-14 06:32", middle=middle)) is is_strip


def photo(path: Path, strip: str, *, exif: dict[int, Any] | None = None, model: str | None = None) -> Path:
    """A grey scene of 1280 × 960 with a black strip at the bottom."""
    image = Image.new("RGB", (1280, 960), (100, 100, 100))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 890, 1280, 960), fill="black")
    draw.text((30, 900), strip, fill="white", font=ImageFont.load_default(40))
    block = Image.Exif()
    block.get_ifd(0x8769).update(exif or {})
    if model is not None:
        block[0x0110] = model
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=92, exif=block)
    return path


def test_exif_of_a_photo_is_read_and_its_position_is_not(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", "", exif={0x9003: "2020:02:29 07:08:09"}, model="HC500\0")
    found = read_capture(path.read_bytes())
    assert (str(found.taken), found.camera) == ("2020-02-29 07:08:09", "HC500")
    path = photo(tmp_path / "b.jpg", "", exif={0x9003: "0000:00:00 00:00:00"})
    assert read_capture(path.read_bytes()) == Capture()


@pytest.mark.parametrize(
    "data", [b"", b"junk", b"\xff\xd8\xff\xe1\x00\x10Exif\x00\x00MM\x00*", b"\x89PNG\r\n\x1a\n"]
)
def test_damaged_metadata_is_an_empty_answer(data: bytes) -> None:
    assert read_capture(data) == Capture()


@pytest.fixture
def here(request: pytest.FixtureRequest, with_wildlife: Any, tmp_path: Path) -> Settings:
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("sightline-models")
    Store(folder).pull(wanted(models.catalogue()["pp-ocrv6-small"]))
    plugins = with_wildlife(tmp_path / "plugins")
    return Settings(_env_file=None, models_dir=folder, offline=True, plugins_dir=plugins, threads=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos = tmp_path / "cameras"
    photo(photos / "bare.jpg", "NORTH GATE   2021-05-14   06:32:10   12°C")
    photo(photos / "dated.jpg", "2021-05-14   06:32:10   -3°C", exif={0x9003: "2021:05:14 06:32:10"})
    photo(photos / "plain.jpg", "")
    (photos / "torn.jpg").write_bytes((photos / "bare.jpg").read_bytes()[:200])
    return photos


async def run(settings: Settings, folder: Path, out: Path, url: str | None = None) -> dict[str, Any]:
    query = Query.create(settings, {"format": PredictionsFormat.MEGADETECTOR.asked}, with_strip=True)
    inputs = Inputs(PhotoFolder(folder), Places(Place(country="KEN")), {})
    if url is None:
        identifying = identifying_here(settings, query, with_places=False)
    else:
        limits = ImageLimits.from_settings(settings)
        identifying = identifying_there(url, query, limits, with_places=False)
    with checkpoint_beside(out) as checkpoint:
        async with identifying as identifier:
            reader = WithStrip(identifier, MAX_BYTES)
            job = Identification(inputs, query, reader, checkpoint, lambda end: None)
            await job.prepare(out)
            await job.run()
            job.write(out, PredictionsFormat.MEGADETECTOR)
    return written(out)


def written(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.read_text())
    return found


async def test_predictions_have_what_exif_lacks(here: Settings, folder: Path, tmp_path: Path) -> None:
    found = await run(here, folder, tmp_path / "out.json")
    captures = {image["file"]: image.get("capture") for image in found["images"]}
    bare = captures["bare.jpg"]
    assert {name: field["value"] for name, field in bare.items()} == {
        "date": "2021-05-14",
        "time": "06:32:10",
        "temperature_c": 12,
        "camera": "NORTH GATE",
    }
    assert all(field["source"] == "strip" and 0.5 <= field["score"] <= 1 for field in bare.values())
    assert {name: field["value"] for name, field in captures["dated.jpg"].items()} == {"temperature_c": -3}
    assert captures["plain.jpg"] is None
    assert captures["torn.jpg"] is None
    assert "pp-ocrv6-small" in found["info"]["sightline"]["models"]


async def test_a_server_reads_the_same(
    here: Settings, folder: Path, tmp_path: Path, server_at: Callable[..., Any]
) -> None:
    alone = await run(here, folder, tmp_path / "alone.json")
    with server_at(here) as url:
        served = await run(here, folder, tmp_path / "served.json", url)
    assert served == alone
