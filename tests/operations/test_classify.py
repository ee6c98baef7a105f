from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from sightline.capabilities import Capability
from sightline.capabilities.membership import MEMBERSHIP
from sightline.collections import Classifier, Recipe, Record, Scores, Space
from sightline.errors import ModelUnavailable, TargetNotFound, UnknownModel, VectorsRefused
from sightline.imaging import ImageLimits, View, open_picture
from sightline.operations import Answer, Inference
from sightline.operations.classify import Classify, Membership
from sightline.types import FaceContext, ModelRef, PixelBox, Provenance, Region, Target

CLIP, DINO = Space("clip-vit-b-32", "a" * 16), Space("dinov2-base", "b" * 16)
WHOLE = Recipe((CLIP,), 2)
BOX = PixelBox(10, 20, 110, 220)
VECTORS = {"clip-vit-b-32": [1.0, 2.0], "dinov2-base": [3.0]}


def classifier(recipe: Recipe = WHOLE, *weights: float, threshold: float = 0.5) -> Classifier:
    numbers = np.array(weights or [0.5, -0.125], np.float64)
    scores = Scores(1, 1, 1, 1, 4, 2)
    record = Record(
        "7", "20261121T000000Z", recipe, "0" * 64, "trained", None, held_out=scores, threshold=threshold
    )
    return Classifier.of(record, numbers, 0.0)


class Scene:
    """Knows one classifier and the embeddings of any view; ``face`` is where one is, or None."""

    def __init__(self, photo: bytes, serving: Classifier, face: PixelBox | None = BOX) -> None:
        self.picture = open_picture(photo, ImageLimits(10**8, 10**8, 10**5))
        self.serving = serving
        self.face = face
        self.provenance = Provenance.PULLED
        self.asked: list[Any] = []
        self.regions: list[tuple[Target, FaceContext]] = []

    async def region(self, target: Target, context: FaceContext) -> Region:
        self.regions.append((target, context))
        if target is Target.PROMINENT_FACE:
            if self.face is None:
                raise TargetNotFound("no prominent face found")
            return Region(target, self.face)
        return Region(Target.WHOLE_IMAGE)

    def view(self, region: Region) -> View:
        return View(self.picture, region.box)

    async def infer(self, capability: Any, subject: Any, space: str | None = None) -> Inference[Any]:
        model = space or capability.name
        self.asked.append((model, subject))
        if model == "membership":
            return Inference(self.serving, ModelRef(model, "f" * 16, Provenance.TRAINED))
        fingerprint = {"clip-vit-b-32": "a", "dinov2-base": "b"}[model] * 16
        return Inference(np.array(VECTORS[model], np.float32), ModelRef(model, fingerprint, self.provenance))


class Models:
    def find(self, capability: Capability, space: str | None = None) -> str:
        if capability is MEMBERSHIP:
            return "membership"
        if space not in VECTORS:
            raise UnknownModel(f"no model {space!r} gives image_embedding; these do: {', '.join(VECTORS)}")
        return space

    def ref(self, model: str) -> ModelRef | None:
        return None


async def run(scene: Scene, **params: Any) -> Answer[Membership]:
    operation = Classify()
    bound = operation.Params.model_validate({"collection_id": 7, **params})
    return await operation.run(scene, bound, Models())  # type: ignore[arg-type]


async def test_probability_version_and_threshold(cup: bytes) -> None:
    scene = Scene(cup, classifier(threshold=0.75))
    answer = await run(scene)
    assert answer.data is not None
    assert answer.data.probability == pytest.approx(1 / (1 + math.exp(-0.25)))
    assert answer.data.is_in_collection is True
    assert (answer.data.version, answer.data.threshold) == ("20261121T000000Z", 0.75)
    assert answer.data.fingerprint == scene.serving.fingerprint
    assert answer.model == ModelRef("membership", scene.serving.fingerprint, Provenance.TRAINED)
    assert answer.region == Region(Target.WHOLE_IMAGE)
    assert answer.warnings == ()
    assert scene.asked == [("membership", "7"), ("clip-vit-b-32", View(scene.picture))]


async def test_the_contract_sees_two_fields(cup: bytes) -> None:
    answer = await run(Scene(cup, classifier()))
    assert answer.data is not None
    plain = Classify().plain(answer.data)
    assert plain == {"is_in_collection": True, "probability": answer.data.probability}


@pytest.mark.parametrize(("use_threshold", "inside"), [(False, True), (True, False)])
async def test_the_calibrated_threshold_decides_only_when_asked(
    cup: bytes, use_threshold: bool, inside: bool
) -> None:
    answer = await run(Scene(cup, classifier(threshold=0.9)), use_threshold=use_threshold)
    assert answer.data is not None
    assert answer.data.is_in_collection is inside


@pytest.mark.parametrize(("weight", "inside"), [(1e-300, True), (0.0, False), (-1e-300, False)])
async def test_the_line_is_where_scikit_learn_draws_it(cup: bytes, weight: float, inside: bool) -> None:
    answer = await run(Scene(cup, classifier(WHOLE, weight, 0.0)))
    assert answer.data is not None
    assert answer.data.probability == 0.5
    assert answer.data.is_in_collection is inside


async def test_several_embeddings_of_one_region_in_the_recipes_order(cup: bytes) -> None:
    scene = Scene(cup, classifier(Recipe((DINO, CLIP), 3), 100.0, 10.0, 1.0))
    answer = await run(scene)
    assert answer.data is not None
    assert answer.data.probability == pytest.approx(1.0)
    assert {model for model, _ in scene.asked} == {"membership", "clip-vit-b-32", "dinov2-base"}
    judged = scene.serving.judge(
        [np.array(VECTORS[name], np.float32) for name in ("dinov2-base", "clip-vit-b-32")],
        ["b" * 16, "a" * 16],
    )
    assert judged.score == 312


async def test_the_part_it_was_trained_on_is_judged_and_a_task_that_names_another_is_told(cup: bytes) -> None:
    face = dataclasses.replace(WHOLE, target=Target.PROMINENT_FACE, face_context=FaceContext.WHOLE_IMAGE)
    scene = Scene(cup, classifier(face))
    silent = await run(scene)
    told = await run(scene, target="whole_image")
    agreed = await run(scene, target="prominent_face", face_context="whole_image")
    other = await run(scene, target="prominent_face", face_context="prominent_person")
    assert scene.regions == [(Target.PROMINENT_FACE, FaceContext.WHOLE_IMAGE)] * 4
    assert {answer.region for answer in (silent, told, agreed, other)} == {Region(Target.PROMINENT_FACE, BOX)}
    assert scene.asked[-1] == ("clip-vit-b-32", View(scene.picture, BOX))
    assert silent.warnings == agreed.warnings == ()
    for answer in (told, other):
        (warning,) = answer.warnings
        assert "prominent face in the whole image" in warning


async def test_where_faces_are_looked_for_matters_only_for_faces(cup: bytes) -> None:
    answer = await run(Scene(cup, classifier()), face_context="whole_image")
    assert answer.warnings == ()


async def test_without_a_face_there_is_nothing_to_judge(cup: bytes) -> None:
    face = dataclasses.replace(WHOLE, target=Target.PROMINENT_FACE)
    with pytest.raises(TargetNotFound, match="face"):
        await run(Scene(cup, classifier(face), face=None))


async def test_vectors_of_another_model_are_refused(cup: bytes) -> None:
    other = Recipe((dataclasses.replace(CLIP, fingerprint="c" * 16),), 2)
    with pytest.raises(VectorsRefused, match=r"c{16}.*a{16}"):
        await run(Scene(cup, classifier(other)))


async def test_an_embedding_that_is_not_here_is_said(cup: bytes) -> None:
    gone = Recipe((Space("dinov3-large", "c" * 16),), 2)
    with pytest.raises(ModelUnavailable, match=r"'dinov3-large'.*these do: clip-vit-b-32"):
        await run(Scene(cup, classifier(gone)))


async def test_a_model_nobody_recorded_is_said(cup: bytes) -> None:
    imported = Recipe((dataclasses.replace(CLIP, fingerprint=None),), 2)
    (warning,) = (await run(Scene(cup, classifier(imported)))).warnings
    assert "clip-vit-b-32 from a model nobody recorded" in warning


async def test_random_embeddings_are_said(cup: bytes) -> None:
    scene = Scene(cup, classifier())
    scene.provenance = Provenance.RANDOM
    (warning,) = (await run(scene)).warnings
    assert "clip-vit-b-32 has random weights" in warning


@pytest.mark.parametrize("identity", [7, "7", "holiday-photos"])
def test_a_collection_is_a_number_or_a_name(identity: object) -> None:
    assert Classify.Params.model_validate({"collection_id": identity}).collection_id == identity


@pytest.mark.parametrize("identity", [None, 1.5, True, [7], {}])
def test_anything_else_is_no_collection(identity: object) -> None:
    with pytest.raises(ValidationError, match="collection_id"):
        Classify.Params.model_validate({"collection_id": identity})
    with pytest.raises(ValidationError, match="collection_id"):
        Classify.Params.model_validate({})
