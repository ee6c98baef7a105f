"""Whether a picture belongs to a collection of the user's own.

A classifier judges the part of the picture it was trained on, by the embeddings it was trained on; a task can
only name the collection. ``docs/collections.md`` says what the numbers mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, StrictInt, StrictStr

from sightline.capabilities.embedding import IMAGE_EMBEDDING, Embedding
from sightline.capabilities.membership import MEMBERSHIP
from sightline.collections import Classifier, Recipe
from sightline.errors import ModelUnavailable, UnknownModel
from sightline.imaging import View
from sightline.operations import (
    Answer,
    Inference,
    Models,
    Operation,
    RegionParams,
    Result,
    Scene,
    TimingGroup,
)
from sightline.types import Provenance, Target


class ClassifyParams(RegionParams):
    """Parameters of ``classify``."""

    collection_id: Annotated[StrictInt | StrictStr, Field(union_mode="left_to_right")] = Field(
        description="The collection: a number or a name."
    )
    target: Target = Field(
        Target.WHOLE_IMAGE,
        description="The part that the collection was trained on is judged, whatever is named here; "
        "another one gives a warning.",
    )
    use_threshold: bool = Field(
        False, description="Decide by the version's calibrated threshold instead of by a probability of 0.5."
    )


class Membership(Result):
    """An answer of one version of one classifier."""

    is_in_collection: bool
    probability: float = Field(description="Of being in the collection, 0 to 1.")
    threshold: float = Field(
        description="Probability above which this version's F1 score was best on held-out examples."
    )
    version: str = Field(description="The version that answered.")
    fingerprint: str = Field(description="Of the version: equal ones answer alike.")


class Classify(Operation[ClassifyParams, Membership]):
    """The operation of the image-embed contract."""

    name = "classify"
    description = "Says whether the image, person or face belongs to a collection of yours."
    needs = (MEMBERSHIP, IMAGE_EMBEDDING)
    targets = (Target.WHOLE_IMAGE, Target.PROMINENT_PERSON, Target.PROMINENT_FACE)
    default_target = Target.WHOLE_IMAGE
    Params = ClassifyParams
    Result = Membership
    example = {"collection_id": 7}
    timing_group = TimingGroup.CLASSIFICATION

    async def run(self, scene: Scene, params: ClassifyParams, models: Models) -> Answer[Membership]:
        serving = await scene.infer(MEMBERSHIP, str(params.collection_id))
        classifier = serving.output
        recipe = classifier.recipe
        region = await scene.region(recipe.target, recipe.face_context)
        embeddings = await _embeddings(scene, models, recipe, scene.view(region))
        judgement = classifier.judge(
            [each.output for each in embeddings], [each.model.fingerprint for each in embeddings]
        )
        record = classifier.record
        # Of scores above 0, as scikit-learn's predict(): the same as a probability above 0.5.
        inside = judgement.probability > record.threshold if params.use_threshold else judgement.score > 0
        return Answer(
            Membership(
                is_in_collection=inside,
                probability=judgement.probability,
                threshold=record.threshold,
                version=record.version,
                fingerprint=classifier.fingerprint,
            ),
            replace(serving.model, fingerprint=classifier.fingerprint),
            region,
            _warnings(params, classifier, embeddings),
        )

    def words(self, result: Membership) -> str:
        belongs = "yes" if result.is_in_collection else "no"
        return f"{belongs}, {result.probability:.0%} (version {result.version})"

    def plain(self, result: Membership) -> Any:
        return {"is_in_collection": result.is_in_collection, "probability": result.probability}


async def _embeddings(
    scene: Scene, models: Models, recipe: Recipe, view: View
) -> Sequence[Inference[Embedding]]:
    """One per space of the recipe, in its order."""
    try:
        for space in recipe.spaces:
            models.find(IMAGE_EMBEDDING, space.name)
    except UnknownModel as error:
        raise ModelUnavailable(f"the classifier needs an embedding that is not here: {error}") from error
    if len(recipe.spaces) == 1:
        return [await scene.infer(IMAGE_EMBEDDING, view, recipe.spaces[0].name)]
    return await asyncio.gather(*(scene.infer(IMAGE_EMBEDDING, view, each.name) for each in recipe.spaces))


def _warnings(
    params: ClassifyParams, classifier: Classifier, embeddings: Sequence[Inference[Embedding]]
) -> tuple[str, ...]:
    recipe, collection = classifier.recipe, classifier.record.collection
    warnings = [
        f"{each.model.name} has random weights: its vectors mean nothing, nor does this answer"
        for each in embeddings
        if each.model.provenance is Provenance.RANDOM
    ]
    if unknown := classifier.of_unknown_origin:
        warnings.append(
            f"collection {collection} was trained on vectors of {' and '.join(unknown)} from a model nobody "
            "recorded: if it was another than the one here, this answer is wrong"
        )
    if _names_another_part(params, recipe):
        warnings.append(f"judged by {recipe}, as collection {collection} was trained, not by what was named")
    return tuple(warnings)


def _names_another_part(params: ClassifyParams, recipe: Recipe) -> bool:
    named = params.model_fields_set
    if "target" in named and params.target is not recipe.target:
        return True
    looks_for_face = recipe.target is Target.PROMINENT_FACE
    return looks_for_face and "face_context" in named and params.face_context is not recipe.face_context


OPERATIONS = (Classify(),)
