"""Choose the label that fits a picture best, without training: CLIP compares it with texts.

As in Radford et al. 2021 ("Learning Transferable Visual Models From Natural Language Supervision", section
3.1): a label's texts become vectors of length 1, which are averaged and scaled to length 1 again; the cosines
with the picture's vector, times the scale that training ended with, go through a softmax.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from sightline.capabilities.embedding import IMAGE_EMBEDDING, TEXT_EMBEDDING
from sightline.capabilities.label_sets import LABEL_SETS, LabelRule, LabelSet
from sightline.errors import InvalidParameters, UnknownModel
from sightline.operations import Answer, Models, Operation, Result, Scene, TimingGroup
from sightline.operations.classify_zero_shot.label_vectors import LabelVectors, Vectors, units
from sightline.operations.classify_zero_shot.params import (
    DEFAULT_SPACE,
    DEFAULT_TEMPLATE,
    ClassifyZeroShotParams,
    unfit_threshold,
)
from sightline.types import ModelRef, Provenance, Target

__all__ = ["DEFAULT_TEMPLATE", "OPERATIONS", "ClassifyZeroShot", "ZeroShotClasses", "softmax"]


class ZeroShotClasses(Result):
    """How the labels share a picture among them. Probabilities are of these labels only: they make 1."""

    label: str = Field(description="The most probable label.")
    confidence: float = Field(description="Its probability.")
    probabilities: dict[str, float] = Field(description="Of every label, in the order they were given.")
    passed: list[str] = Field(description="Labels above their threshold, the most probable first.")
    verdicts: dict[str, bool] = Field(description="What the rules of the label set say.")
    fingerprint: str = Field(
        description="Digest of the text model, the texts, thresholds and rules. Where it and the model's "
        "fingerprint are equal, the same was asked of the same models."
    )


class ClassifyZeroShot(Operation[ClassifyZeroShotParams, ZeroShotClasses]):
    """Texts that were read before cost no text model."""

    name = "classify_zero_shot"
    description = "Says which of the given labels fits the image, person or face best, with CLIP."
    needs = (IMAGE_EMBEDDING, TEXT_EMBEDDING, LABEL_SETS)
    targets = (Target.WHOLE_IMAGE, Target.PROMINENT_PERSON, Target.PROMINENT_FACE)
    default_target = Target.WHOLE_IMAGE
    Params = ClassifyZeroShotParams
    Result = ZeroShotClasses
    example = {"labels": ["map", "portrait", "landscape"], "thresholds": {"map": 0.5}}
    default_spaces = {IMAGE_EMBEDDING: DEFAULT_SPACE, TEXT_EMBEDDING: DEFAULT_SPACE}
    timing_group = TimingGroup.CLASSIFICATION
    purposes = ("labels", "search")

    def __init__(self) -> None:
        self._label_vectors = LabelVectors()

    async def run(
        self, scene: Scene, params: ClassifyZeroShotParams, models: Models
    ) -> Answer[ZeroShotClasses]:
        # The reader first: an unknown model is answered with a list of those that have one.
        models.find(TEXT_EMBEDDING, params.model)
        pictures = models.find(IMAGE_EMBEDDING, params.model)
        scale = models.similarity_scale(pictures)
        if scale is None:
            raise UnknownModel(f"{params.model} cannot classify: its likenesses have no scale")
        asked = await _asked(scene, params)
        region = await scene.region(params.target, params.face_context)
        picture, (vectors, reader) = await asyncio.gather(
            scene.infer(IMAGE_EMBEDDING, scene.view(region), params.model),
            self._label_vectors.of(scene, params.model, asked),
        )
        shares = softmax(scale * (vectors @ units(picture.output)))
        result = _result(asked, params.thresholds, shares, reader)
        return Answer(result, picture.model, region, _warnings(picture.model, reader))

    def words(self, result: ZeroShotClasses) -> str:
        ranked = sorted(result.probabilities.items(), key=lambda each: -each[1])
        shown = ", ".join(f"{label} {share:.0%}" for label, share in ranked[:5])
        return shown + (f", and {len(ranked) - 5} more" if len(ranked) > 5 else "")


async def _asked(scene: Scene, params: ClassifyZeroShotParams) -> LabelSet:
    if params.label_set is None:
        return params.asked
    found = (await scene.infer(LABEL_SETS, params.label_set)).output
    if unfit := unfit_threshold(params.thresholds, found):
        raise InvalidParameters(unfit)
    return found


def softmax(logits: Vectors) -> Vectors:
    """Shares that make 1."""
    powers = np.exp(logits - logits.max())
    shares: Vectors = powers / powers.sum()
    return shares


def _result(
    asked: LabelSet,
    thresholds: Mapping[str, float],
    shares: Sequence[float] | Vectors,
    reader: ModelRef,
) -> ZeroShotClasses:
    probabilities = {label: float(share) for label, share in zip(asked.labels, shares, strict=True)}
    by_share = sorted(probabilities, key=lambda label: -probabilities[label])
    return ZeroShotClasses(
        label=by_share[0],
        confidence=probabilities[by_share[0]],
        probabilities=probabilities,
        passed=[
            label for label in by_share if label in thresholds and probabilities[label] > thresholds[label]
        ],
        verdicts={rule.name: _verdict(rule, probabilities) for rule in asked.rules},
        fingerprint=_fingerprint(asked, thresholds, reader),
    )


def _verdict(rule: LabelRule, probabilities: Mapping[str, float]) -> bool:
    """See ``LabelRule``."""
    above = not rule.any_above or any(probabilities[label] > share for label, share in rule.any_above)
    return above and all(probabilities[label] < share for label, share in rule.all_below)


def _fingerprint(asked: LabelSet, thresholds: Mapping[str, float], reader: ModelRef) -> str:
    rules = [[rule.name, rule.any_above, rule.all_below] for rule in asked.rules]
    content = json.dumps([reader.fingerprint, asked.prompts, rules, sorted(thresholds.items())])
    return hashlib.sha256(content.encode()).hexdigest()[:16]  # as long as a model's


def _warnings(looker: ModelRef, reader: ModelRef) -> tuple[str, ...]:
    """The model that looked is in the answer and speaks for itself; the one that read is not."""
    if reader.provenance is Provenance.RANDOM and looker.provenance is not Provenance.RANDOM:
        return (f"{reader.name} has random weights: this answer means nothing",)
    return ()


OPERATIONS = (ClassifyZeroShot(),)
