"""Describing in this process, with a captioning model from a plug-in folder and the built-in operation."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sightline.errors import InvalidImage, InvalidParameters, InvalidRequest, SightlineError, TargetNotFound
from sightline.jobs.describing import Description, RunEnded, asked, describing_here
from sightline.settings import Settings


@pytest.fixture
def plugged_in(settings: Settings, tmp_path: Path, with_captioner) -> Settings:
    return settings.model_copy(update={"plugins_dir": with_captioner(tmp_path / "plugins")})


async def test_an_image_is_put_into_words(plugged_in: Settings, tmp_path: Path, grey_image) -> None:
    task = asked(plugged_in, {"model": "stand-in", "max_length": 7})
    async with describing_here(plugged_in, task) as describer:
        described = await describer.describe(grey_image(tmp_path / "a.png", 70))
    assert described == Description("all of grey 70 in 7 words")


async def test_images_under_way_together_make_batches(
    plugged_in: Settings, tmp_path: Path, grey_image, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = tmp_path / "sizes"
    monkeypatch.setenv("STAND_IN_BATCHES", str(sizes))
    monkeypatch.setenv("STAND_IN_PAUSE_S", "0.1")
    images = [grey_image(tmp_path / f"{number}.png", 20 + number) for number in range(9)]
    async with describing_here(plugged_in, asked(plugged_in, {"model": "stand-in"})) as describer:
        described = await asyncio.gather(*(describer.describe(image) for image in images))
    assert [each.text.split()[3] for each in described] == [str(20 + number) for number in range(9)]
    assert max(map(int, sizes.read_text().split())) == 4  # the model's limit


async def test_a_full_queue_never_refuses_a_run_its_own_images(
    plugged_in: Settings, tmp_path: Path, grey_image
) -> None:
    narrow = plugged_in.model_copy(update={"queue_items": 1, "queue_mib": 1})
    images = [grey_image(tmp_path / f"{number}.png") for number in range(12)]
    async with describing_here(narrow, asked(narrow, {"model": "stand-in"})) as describer:
        assert len(await asyncio.gather(*(describer.describe(image) for image in images))) == 12


async def test_an_image_fails_for_itself(plugged_in: Settings, tmp_path: Path, grey_image) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "torn.png").write_bytes(grey_image(tmp_path / "a.png").read_bytes()[:60])
    async with describing_here(plugged_in, asked(plugged_in, {"model": "stand-in"})) as describer:
        with pytest.raises(InvalidImage, match="empty"):
            await describer.describe(tmp_path / "empty.jpg")
        with pytest.raises(InvalidImage):
            await describer.describe(tmp_path / "torn.png")
        with pytest.raises(InvalidRequest, match="cannot be read: No such file"):
            await describer.describe(tmp_path / "gone.png")
        with pytest.raises(SightlineError, match="stand-in failed on this input"):
            await describer.describe(grey_image(tmp_path / "unlucky.png", 13))
        assert (await describer.describe(tmp_path / "a.png")).text


async def test_a_face_that_is_not_there_is_no_failure(
    plugged_in: Settings, tmp_path: Path, grey_image
) -> None:
    params = {"model": "stand-in", "target": "prominent_face", "face_context": "whole_image"}
    async with describing_here(plugged_in, asked(plugged_in, params)) as describer:
        with pytest.raises(TargetNotFound):
            await describer.describe(grey_image(tmp_path / "a.png"))


async def test_missing_weights_end_the_run_and_say_how_to_get_them(
    settings: Settings, tmp_path: Path, grey_image
) -> None:
    image = grey_image(tmp_path / "a.png")
    async with describing_here(settings, asked(settings, {})) as describer:
        for _ in range(2):
            with pytest.raises(RunEnded, match="sightline models "):
                await describer.describe(image)


async def test_an_unknown_model_ends_the_run(plugged_in: Settings, tmp_path: Path, grey_image) -> None:
    async with describing_here(plugged_in, asked(plugged_in, {"model": "nobody"})) as describer:
        with pytest.raises(RunEnded, match="stand-in"):
            await describer.describe(grey_image(tmp_path / "a.png"))


@pytest.mark.parametrize("params", [{"max_length": 0}, {"max_length": 10_000}, {"target": "feet"}, {"x": 1}])
def test_parameters_are_checked_before_anything_runs(settings: Settings, params: dict[str, object]) -> None:
    with pytest.raises(InvalidParameters, match=next(iter(params))):
        asked(settings, params)
