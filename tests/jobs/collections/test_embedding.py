"""Pictures through the real pipeline: real decoding, a small CLIP, real photographs."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from sightline.collections import Collections
from sightline.errors import InvalidExamples, ModelUnavailable, UnknownModel
from sightline.jobs.collections.embedding import Embedding, Supplied
from sightline.jobs.collections.kept_vectors import KeptVectors
from sightline.jobs.collections.plans import Plan
from sightline.jobs.collections.sources import Offer, silent
from sightline.jobs.collections.sources.folders import Folders
from sightline.runtime.analyzer import Analyzer, Task
from sightline.settings import Settings
from sightline.types import FaceContext, Target


def tile(pixels: np.ndarray, number: int) -> Image.Image:
    """A part of a photograph, another one for each number."""
    top, left = 16 * (number // 10), 16 * (number % 10)
    return Image.fromarray(pixels[top : top + 96, left : left + 96]).convert("RGB")


def as_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def fill() -> Callable[..., Path]:
    """A folder with coffee inside and gravel outside."""

    def make(folder: Path, count: int = 12) -> Path:
        for part, photo in (("in", skimage.data.coffee()), ("out", skimage.data.gravel())):
            (folder / part).mkdir(parents=True)
            for number in range(count):
                tile(photo, number).save(folder / part / f"{number:03}.png")
        return folder

    return make


@pytest.fixture
async def analyzer(settings: Settings) -> AsyncIterator[Analyzer]:
    async with Analyzer.create(settings) as found:
        yield found


@pytest.fixture
def kept(collections: Collections):
    found = KeptVectors(collections)
    yield found
    found.close()


async def examples(
    folder: Path, analyzer: Analyzer, kept: KeptVectors, plan: Plan | None = None, report=silent
):
    source = Folders(folder, analyzer, plan or Plan(), kept)
    (offer,) = await source.offers()
    return await source.examples(offer, report)


async def test_a_folder_becomes_examples_as_classify_would_embed(tmp_path, fill, analyzer, kept) -> None:
    folder = fill(tmp_path / "coffee")
    found = await examples(folder, analyzer, kept)
    assert (len(found.examples), found.examples.positives) == (24, 12)
    picture = analyzer.open((folder / "in" / "003.png").read_bytes())
    (outcome,) = await analyzer.analyze(picture, [analyzer.bind(Task("a", "embed_clip_vit_b_32"))])
    at = found.images.index(picture.facts.sha256)
    assert np.allclose(found.examples.vectors[at], outcome.answer.data.vector, rtol=1e-3, atol=1e-4)
    (space,) = found.examples.recipe.spaces
    assert (space.name, space.fingerprint) == ("clip-vit-b-32", outcome.answer.model.fingerprint)
    assert found.warnings == ("clip-vit-b-32 has random weights: its vectors mean nothing",)


async def test_a_second_time_embeds_only_what_is_new(tmp_path, fill, analyzer, kept) -> None:
    folder = fill(tmp_path / "coffee")
    first = await examples(folder, analyzer, kept)
    tile(skimage.data.astronaut(), 0).save(folder / "out" / "astronaut.png")
    (folder / "in" / "000.png").rename(folder / "in" / "renamed.png")
    lanes = []
    infer = analyzer.engine.infer
    analyzer.engine.infer = lambda *arguments: (lanes.append(arguments), infer(*arguments))[1]
    second = await examples(folder, analyzer, kept)
    assert (first.reused, second.reused, len(second.examples)) == (0, 24, 25)
    assert len(lanes) == 1
    before = dict(zip(first.images, first.examples.vectors, strict=True))
    for image, vector in zip(second.images, second.examples.vectors, strict=True):
        assert np.array_equal(vector, before.get(image, vector))


async def test_another_model_reuses_nothing(tmp_path, fill, analyzer, kept) -> None:
    folder = fill(tmp_path / "coffee")
    await examples(folder, analyzer, kept)
    faces = Plan(target=Target.PROMINENT_FACE, face_context=FaceContext.WHOLE_IMAGE)
    with pytest.raises(InvalidExamples, match=r"no picture could .* 24 were skipped: .*no prominent face"):
        await examples(folder, analyzer, kept, faces)


async def test_bad_files_are_listed_and_left_out(tmp_path, fill, analyzer, kept) -> None:
    folder = fill(tmp_path / "coffee")
    (folder / "in" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much")
    (folder / "out" / "text.png").write_text("a text")
    whole = (folder / "out" / "001.png").read_bytes()
    (folder / "out" / "short.png").write_bytes(whole[: len(whole) // 2])
    (folder / "out" / "notes.txt").write_text("no image by its name")
    (folder / "in" / "gone.png").symlink_to(folder / "nothing.png")
    found = await examples(folder, analyzer, kept)
    assert sorted(each.name for each in found.skipped) == [
        "in/broken.jpg", "in/gone.png", "out/short.png", "out/text.png",
    ]  # fmt: skip
    assert all(each.reason for each in found.skipped)
    assert len(found.examples) == 24


async def test_copies_and_contradictions_teach_nothing(tmp_path, fill, analyzer, kept) -> None:
    folder = fill(tmp_path / "coffee")
    (folder / "in" / "copy.png").write_bytes((folder / "in" / "001.png").read_bytes())
    (folder / "out" / "both.png").write_bytes((folder / "in" / "002.png").read_bytes())
    found = await examples(folder, analyzer, kept)
    reasons = {each.name: each.reason for each in found.skipped}
    assert reasons == {
        "in/copy.png": "the same picture as in/001.png",
        "in/002.png": "the same picture is inside and outside",
        "out/both.png": "the same picture is inside and outside",
    }
    assert len(found.examples) == 23


async def test_progress_is_told(tmp_path, fill, analyzer, kept) -> None:
    told: list[tuple[str, int, int | None]] = []
    folder = fill(tmp_path / "coffee")
    await examples(folder, analyzer, kept, report=lambda *each: told.append(each))
    assert told[0] == ("looking for images", 0, None)
    assert told[1:] == [("embedding", number, 24) for number in range(25)]


async def test_too_few_are_told_with_what_was_skipped(tmp_path, fill, analyzer, kept) -> None:
    folder = fill(tmp_path / "coffee", count=3)
    (folder / "in" / "x.png").write_text("x")
    with pytest.raises(InvalidExamples, match=r"too few.*; 1 were skipped: in/x\.png: "):
        await examples(folder, analyzer, kept)


async def test_a_face_of_each_picture(tmp_path, portrait, analyzer, kept) -> None:
    for part in ("in", "out"):
        (tmp_path / "faces" / part).mkdir(parents=True)
    whole = Image.open(io.BytesIO(portrait))
    for number in range(10):
        part = "in" if number % 2 else "out"
        whole.crop((number, number, 512, 512)).save(tmp_path / "faces" / part / f"{number}.png")
    tile(skimage.data.gravel(), 0).save(tmp_path / "faces" / "in" / "stones.png")
    plan = Plan(target=Target.PROMINENT_FACE, face_context=FaceContext.WHOLE_IMAGE)
    found = await examples(tmp_path / "faces", analyzer, kept, plan)
    assert found.examples.recipe.target is Target.PROMINENT_FACE
    assert len(found.examples) == 10
    assert [(each.name, each.reason) for each in found.skipped] == [
        ("in/stones.png", "no prominent face found")
    ]
    again = await examples(tmp_path / "faces", analyzer, kept, plan)
    assert again.reused == 10


async def test_pictures_known_by_their_digest(tmp_path, fill, analyzer, kept) -> None:
    first = await examples(fill(tmp_path / "coffee"), analyzer, kept)
    labels = first.examples.labels.tolist()
    known = [
        Supplied(image, inside, sha256=image) for image, inside in zip(first.images, labels, strict=True)
    ]
    unknown = Supplied("f" * 64, True, sha256="f" * 64)
    found = await Embedding(analyzer, Plan(), kept).examples([*known, unknown])
    assert np.array_equal(found.examples.vectors, first.examples.vectors)
    assert [each.name for each in found.skipped] == ["f" * 64]
    assert "send the picture" in found.skipped[0].reason


async def test_a_small_lane_is_waited_for(models_dir, tmp_path, fill, collections, kept) -> None:
    settings = Settings(models_dir=models_dir, offline=True, allow_random_weights=True, queue_items=2)
    async with Analyzer.create(settings) as analyzer:
        picture = analyzer.open(as_png(tile(skimage.data.coffee(), 0)))
        await analyzer.analyze(picture, [analyzer.bind(Task("warm", "embed_clip_vit_b_32"))])
        found = await examples(fill(tmp_path / "coffee", count=5), analyzer, kept)
    assert len(found.examples) == 10


async def test_a_model_that_is_not_here_ends_it(tmp_path, fill, analyzer, kept) -> None:
    folder = fill(tmp_path / "coffee")
    with pytest.raises(ModelUnavailable):
        await examples(folder, analyzer, kept, Plan(("dinov2-base",)))
    with pytest.raises(UnknownModel):
        await examples(folder, analyzer, kept, Plan(("nothing",)))


GREY = """
import numpy as np
from sightline.models import ModelCard, ModelDefinition
from sightline.capabilities.embedding import IMAGE_EMBEDDING

class Grey:
    def prepare(self, view):
        return view.pixels().mean(axis=(0, 1))

    def infer(self, items):
        return [np.asarray(item, np.float32) for item in items]

CARD = ModelCard(
    name="grey", capabilities=frozenset({IMAGE_EMBEDDING}), description="d", licence="CC0-1.0",
    homepage="https://example.org", preprocessing="p1", parameters=0, multiply_adds=0, space="grey",
)
MODELS = (ModelDefinition(CARD, lambda files, graphs: Grey()),)
"""


async def test_two_embeddings_one_after_the_other(models_dir, tmp_path, fill, kept) -> None:
    (tmp_path / "plugins" / "models").mkdir(parents=True)
    (tmp_path / "plugins" / "models" / "grey.py").write_text(GREY)
    folder = fill(tmp_path / "coffee")
    settings = Settings(
        models_dir=models_dir, plugins_dir=tmp_path / "plugins", offline=True, allow_random_weights=True
    )
    async with Analyzer.create(settings) as analyzer:
        alone = await examples(folder, analyzer, kept)
        asked: list[str] = []
        infer = analyzer.engine.infer
        analyzer.engine.infer = lambda model, *more: (asked.append(model), infer(model, *more))[1]
        both = await examples(folder, analyzer, kept, Plan(("grey", "clip-vit-b-32")))
        again = await examples(folder, analyzer, kept, Plan(("clip-vit-b-32", "grey")))
    assert set(asked) == {"grey"}  # CLIP's were kept
    assert (both.examples.recipe.dimensions, both.reused, again.reused) == (515, 0, 24)
    assert [space.name for space in both.examples.recipe.spaces] == ["grey", "clip-vit-b-32"]
    assert np.array_equal(both.examples.vectors[:, 3:], alone.examples.vectors)
    assert np.array_equal(np.roll(both.examples.vectors, -3, axis=1), again.examples.vectors)


async def test_folders_of_folders_are_as_many_collections(tmp_path, fill, analyzer, kept) -> None:
    for name in ("cats", "dogs", "not this"):
        fill(tmp_path / "all" / name, count=5)
    (tmp_path / "all" / "half" / "in").mkdir(parents=True)
    source = Folders(tmp_path / "all", analyzer, Plan(), kept)
    offers = await source.offers()
    assert [(offer.collection, bool(offer.problem)) for offer in offers] == [
        ("cats", False), ("dogs", False), ("not this", True),
    ]  # fmt: skip
    assert len((await source.examples(Offer("dogs", plan=Plan()), silent)).examples) == 10
