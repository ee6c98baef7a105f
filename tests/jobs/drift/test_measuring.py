"""Photos computed twice, on a real graph that sees things in noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sightline import models
from sightline.capabilities.caption import CAPTION
from sightline.errors import InvalidRequest
from sightline.imaging import ImageLimits
from sightline.jobs.drift.comparing import Finds, Texts, tally_for
from sightline.jobs.drift.keeping import record_of
from sightline.jobs.drift.measuring import Measuring, PhotoEnd, Twins, loaded_twice, photos_in
from sightline.models import ModelDefinition
from sightline.runtime import graphs
from sightline.runtime.residency import wanted
from sightline.settings import Precision, Settings
from sightline.types import Provenance
from sightline.weights.drift import FindFigures, Limits
from sightline.weights.store import Installed, Store

NAME = "megadetector-v5a"
_really_computes_bf16 = graphs.cpu_computes_bf16
LIMITS = ImageLimits(10**7, 10**7, 10**4)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "store").mkdir()
    return Settings(models_dir=tmp_path / "store", threads=1)


@pytest.fixture
def definition() -> ModelDefinition:
    return models.catalogue()[NAME]


@pytest.fixture
def installed(
    settings: Settings, definition: ModelDefinition, tmp_path: Path, detector_file: Path
) -> Installed:
    folder = tmp_path / "detector"
    folder.mkdir()
    (folder / "detector.onnx").write_bytes(detector_file.read_bytes())
    store = Store.from_settings(settings)
    return store.adopt(wanted(definition), folder, Provenance.IMPORTED, "a test's")


@pytest.fixture(autouse=True)
def _with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "cpu_computes_bf16", lambda: True)


Compare = Callable[..., tuple[Measuring, list[PhotoEnd]]]


@pytest.fixture
def compare(settings: Settings, definition: ModelDefinition, installed: Installed) -> Compare:
    def run(photos: Sequence[Path], min_score: float = 0.2) -> tuple[Measuring, list[PhotoEnd]]:
        ends: list[PhotoEnd] = []
        tally = tally_for(definition.card, min_score)
        with loaded_twice(settings, definition, installed.files) as twins:
            assert twins.precision is Precision.BF16
            measuring = Measuring(definition, twins, tally, LIMITS, ends.append)
            measuring.run(photos_in(photos))
        return measuring, ends

    return run


def test_a_folder_is_compared(compare: Compare, noisy_photos: Any, settings: Settings) -> None:
    folder = noisy_photos(settings.models_dir.parent / "photos", 4)
    measuring, ends = compare([folder])
    assert [end.error for end in ends] == [None] * 4
    assert [Path(end.source).name for end in ends] == ["00.png", "01.png", "02.png", "03.png"]
    measured = measuring.measured(Limits(pixels=5, score=0.1))
    assert isinstance(measured.figures, FindFigures)
    assert measured.figures.photos == 4
    assert measured.figures.both > 20
    assert measured.verdict.within
    assert min(measured.f32_s, measured.half_s) > 0
    assert sorted(path.name for path in settings.models_dir.iterdir() if path.name.startswith(".drift")) == []


def test_half_precision_makes_a_difference(compare: Compare, noisy_photos: Any, tmp_path: Path) -> None:
    if not _really_computes_bf16():
        pytest.skip("this processor has no bf16 arithmetic")
    measuring, _ = compare([noisy_photos(tmp_path / "photos", 2)])
    measured = measuring.measured(Limits(score=0))
    assert isinstance(measured.figures, FindFigures)
    assert measured.figures.scores is not None
    assert 0 < measured.figures.scores.median < 0.05
    assert not measured.verdict.within


def test_a_bad_photo_stops_nothing(compare: Compare, noisy_photos: Any, tmp_path: Path) -> None:
    folder = noisy_photos(tmp_path / "photos", 2)
    (folder / "00a.jpg").write_bytes(b"junk")
    (folder / "notes.txt").write_text("no photo")
    measuring, ends = compare([folder])
    assert measuring.photos == 2
    (bad,) = [end for end in ends if end.error]
    assert bad.source.endswith("00a.jpg")
    assert "not an image in an accepted format" in str(bad.error)


def test_without_a_photo_there_is_nothing_to_say(compare: Compare, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"junk")
    measuring, _ = compare([tmp_path / "a.jpg"])
    with pytest.raises(InvalidRequest, match="no photo could be compared"):
        measuring.measured(Limits())


def test_photos_are_met_once_each(noisy_photos: Any, tmp_path: Path) -> None:
    folder = noisy_photos(tmp_path / "photos", 2)
    noisy_photos(folder / "deeper", 1)
    found = list(photos_in([folder / "01.png", folder, folder]))
    assert [path.relative_to(folder).as_posix() for path in found if isinstance(path, Path)] == [
        "01.png",
        "00.png",
        "deeper/00.png",
    ]


def test_a_store_that_cannot_be_written_is_measured_all_the_same(
    settings: Settings, definition: ModelDefinition, installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = settings.model_copy(update={"models_dir": settings.models_dir / "nowhere"})
    with loaded_twice(gone, definition, installed.files) as twins:
        assert twins.precision is Precision.BF16


# -- models whose answers cannot differ ----------------------------------------------------------------------


def test_a_model_that_insists_on_f32_is_not_compared(models_dir: Path) -> None:
    mtcnn = models.catalogue()["mtcnn"]
    settings = Settings(models_dir=models_dir)
    installed = Store(models_dir).installed(wanted(mtcnn))
    assert installed is not None
    with (
        pytest.raises(InvalidRequest, match="mtcnn computes in f32 whatever the settings say"),
        loaded_twice(settings, mtcnn, installed.files),
    ):
        pass
    assert not list(models_dir.glob(".drift-*"))


def test_a_model_without_graphs_is_not_compared(settings: Settings, definition: ModelDefinition) -> None:
    plain = ModelDefinition(definition.card, lambda files, graphs: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(InvalidRequest, match="computes with no graph"), loaded_twice(settings, plain, {}):
        pass


# -- models by hand ------------------------------------------------------------------------------------------


class Says:
    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def prepare(self, subject: Any) -> Any:
        return subject

    def infer(self, items: Sequence[Any]) -> list[Any]:
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [answer]


def test_captioners_are_asked_for_captions(noisy_photos: Any, tmp_path: Path) -> None:
    asked: list[Any] = []

    class Captions(Says):
        def prepare(self, subject: Any) -> Any:
            asked.append(subject.max_length)
            return subject.view.pixels().shape

    captioner = next(each for each in models.catalogue().values() if CAPTION in each.card.capabilities)
    tally = Texts()
    twins = Twins(Captions("a dog"), Captions("a cat"), Precision.BF16)
    Measuring(captioner, twins, tally, LIMITS, lambda end: None).run(photos_in([noisy_photos(tmp_path, 2)]))
    assert asked == [50, 50]
    assert tally.figures().same == 0


def test_a_photo_the_model_fails_on_is_named(
    definition: ModelDefinition, noisy_photos: Any, tmp_path: Path
) -> None:
    ends: list[PhotoEnd] = []
    # The first photo is computed twice: graphs take longer for their first batch.
    failing = Says([], [], ValueError("secret"), [])
    measuring = Measuring(
        definition, Twins(Says([]), failing, Precision.BF16), Finds(0.2), LIMITS, ends.append
    )
    measuring.run(photos_in([noisy_photos(tmp_path, 3)]))
    assert [end.error for end in ends] == [None, "the model fails on it: ValueError", None]
    assert measuring.photos == 2


# -- keeping -------------------------------------------------------------------------------------------------


def test_a_record_says_what_was_measured(
    compare: Compare, noisy_photos: Any, tmp_path: Path, installed: Installed
) -> None:
    measuring, _ = compare([noisy_photos(tmp_path / "photos", 20)])
    limits = Limits(pixels=5, score=0.1)
    measured = measuring.measured(limits)
    record = record_of(measured, installed, Precision.BF16, arithmetic="some", min_score=0.2, limits=limits)
    assert record.belongs_to(installed.manifest)
    assert record.figures == measured.figures
    assert (record.limits, record.precision, record.within_limits) == (limits, Precision.BF16, True)


def test_too_little_is_not_kept(
    compare: Compare, noisy_photos: Any, tmp_path: Path, installed: Installed
) -> None:
    for photos, min_score in ((19, 0.2), (20, 1.0)):
        measuring, _ = compare([noisy_photos(tmp_path / f"photos{photos}", photos)], min_score)
        with pytest.raises(InvalidRequest, match=f"nothing was kept: {photos} photos with") as refused:
            record_of(
                measuring.measured(Limits()),
                installed,
                Precision.BF16,
                arithmetic="some",
                min_score=min_score,
                limits=Limits(),
            )
        assert "20 with 20 are needed" in str(refused.value)
