"""Which of some labels fits a picture best, without training: CLIP compares it with texts that describe them.

As in Radford et al. 2021 ("Learning Transferable Visual Models From Natural Language Supervision", section
3.1): a label's texts become vectors of length 1, which are averaged and scaled to length 1 again; the cosines
with the picture's vector, times the scale that training ended with, go through a softmax.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from sightline.errors import InvalidParameters, UnknownModel
from sightline.operations import (
    Answer,
    Inference,
    Models,
    Operation,
    RegionParams,
    Result,
    Scene,
)
from sightline.types import Capability, LabelRule, LabelSet, ModelRef, Provenance, Target

DEFAULT_SPACE = "clip-vit-b-32"
# The prompt for classes without a better one in that paper and in the notebooks of github.com/openai/CLIP.
DEFAULT_TEMPLATE = "a photo of a {}."
# A text costs about as much as half a picture, and all of a request's are computed within its time.
MOST_PROMPTS = 1000
# Texts under way at once: a batch of the text models, and far from filling a lane alone.
_TEXTS_AT_ONCE = 32
# The epsilon of torch.nn.functional.normalize.
_EPSILON = 1e-12

Vector = NDArray[np.float32]
Label = Annotated[str, Field(min_length=1, max_length=100)]
Prompt = Annotated[str, Field(min_length=1, max_length=2000)]
Share = Annotated[float, Field(ge=0, le=1)]


def _as_list(value: Any) -> Any:
    """``map,photo`` in a query is two labels."""
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _as_lists(value: Any) -> Any:
    """A label with one prompt may have it without brackets."""
    if isinstance(value, Mapping):
        return {label: [texts] if isinstance(texts, str) else texts for label, texts in value.items()}
    return _as_list(value)


def _as_templates(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Labels = Annotated[list[Label], Field(min_length=2, max_length=MOST_PROMPTS)]
Prompts = Annotated[
    dict[Label, Annotated[list[Prompt], Field(min_length=1, max_length=MOST_PROMPTS)]],
    Field(min_length=2, max_length=MOST_PROMPTS),
]

_ListOrObject = Annotated[
    Annotated[Labels, Tag("list")] | Annotated[Prompts, Tag("object")],
    Discriminator(lambda value: "object" if isinstance(value, Mapping) else "list"),
]


class ClassifyZeroShotParams(RegionParams):
    """Parameters of ``classify_zero_shot``: either ``labels`` or ``label_set``."""

    labels: Annotated[_ListOrObject | None, BeforeValidator(_as_lists)] = Field(
        None,
        description="What to choose from: a list of labels, or an object with one or several texts for each, "
        "which are averaged.",
    )
    label_set: str | None = Field(
        None,
        max_length=100,
        description="A known set of labels instead, such as map-or-aerial or kind-of-picture.",
    )
    templates: Annotated[list[Prompt], BeforeValidator(_as_templates)] = Field(
        [DEFAULT_TEMPLATE],
        min_length=1,
        max_length=100,
        description="Texts that {} in them makes of a label in a list; several are averaged.",
    )
    thresholds: dict[Label, Share] = Field(
        {}, description="For some labels, the probability above which they count as passed."
    )
    model: str = Field(
        DEFAULT_SPACE,
        max_length=100,
        description="Space of the image and the text model; GET /v1/models lists them.",
    )

    @model_validator(mode="after")
    def _one_question(self) -> ClassifyZeroShotParams:
        if (self.labels is None) == (self.label_set is None):
            raise PydanticCustomError("labels", "give either labels or label_set")
        if "templates" in self.model_fields_set and not isinstance(self.labels, list):
            raise PydanticCustomError("templates", "templates go with a list of labels only")
        if plain := next((text for text in self.templates if "{}" not in text), None):
            raise PydanticCustomError(
                "templates",
                "a template needs {} where the label goes, not so {text}",
                {"text": repr(plain[:100])},
            )
        if isinstance(self.labels, list) and len(set(self.labels)) < len(self.labels):
            raise PydanticCustomError("labels", "labels must differ")
        if self.labels is not None:
            asked = self.asked()
            if sum(len(texts) for _, texts in asked.prompts) > MOST_PROMPTS:
                raise PydanticCustomError("labels", f"at most {MOST_PROMPTS} texts, all labels together")
            if unfit := _unfit_threshold(self.thresholds, asked):
                raise PydanticCustomError("thresholds", "{unfit}", {"unfit": unfit})
        return self

    def asked(self) -> LabelSet:
        """The labels of the request as a set without a name."""
        labels = self.labels or {}
        if isinstance(labels, list):
            labels = {label: [each.replace("{}", label) for each in self.templates] for label in labels}
        return LabelSet("", tuple((label, tuple(texts)) for label, texts in labels.items()))


def _unfit_threshold(thresholds: Mapping[str, float], asked: LabelSet) -> str | None:
    """What is wrong with the thresholds, if anything is."""
    unknown = sorted(thresholds.keys() - set(asked.labels))
    if not unknown:
        return None
    return f"thresholds has {unknown[0]!r}, which is none of {', '.join(asked.labels)[:500]}"


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
    """The text vectors are remembered by the runtime: known labels cost no text model."""

    name = "classify_zero_shot"
    description = "Says which of the given labels fits the image, person or face best, with CLIP."
    needs = (Capability.IMAGE_EMBEDDING, Capability.TEXT_EMBEDDING, Capability.LABEL_SETS)
    targets = (Target.WHOLE_IMAGE, Target.PROMINENT_PERSON, Target.PROMINENT_FACE)
    default_target = Target.WHOLE_IMAGE
    Params = ClassifyZeroShotParams
    Result = ZeroShotClasses
    example = {"labels": ["map", "portrait", "landscape"], "thresholds": {"map": 0.5}}
    timing_group = "classification"

    async def run(
        self, scene: Scene, params: ClassifyZeroShotParams, models: Models
    ) -> Answer[ZeroShotClasses]:
        pictures = models.find(Capability.IMAGE_EMBEDDING, params.model)
        texts = models.find(Capability.TEXT_EMBEDDING, params.model)
        scale = models.similarity_scale(pictures)
        if scale is None:
            raise UnknownModel(f"{params.model} cannot classify: its likenesses have no scale")
        asked = await _asked(scene, params, models)
        region = await scene.region(params.target, params.face_context)
        picture, (vectors, reader) = await asyncio.gather(
            scene.infer(pictures, scene.view(region)), _label_vectors(scene, texts, asked)
        )
        shares = softmax(scale * (vectors @ _units(picture.output)))
        result = _result(asked, params.thresholds, shares, reader)
        return Answer(result, picture.model, region, _warnings(picture.model, reader))


async def _asked(scene: Scene, params: ClassifyZeroShotParams, models: Models) -> LabelSet:
    if params.label_set is None:
        return params.asked()
    found: LabelSet = (await scene.infer(models.find(Capability.LABEL_SETS), params.label_set)).output
    if unfit := _unfit_threshold(params.thresholds, found):
        raise InvalidParameters(unfit)
    return found


async def _label_vectors(scene: Scene, model: str, asked: LabelSet) -> tuple[NDArray[np.float64], ModelRef]:
    """Of each label the vector of length 1, float64 [labels, dimensions], and who read the texts."""
    texts = list(dict.fromkeys(text for _, prompts in asked.prompts for text in prompts))
    read = {text: scene.known(model, text) for text in texts}
    unread = [text for text, known in read.items() if known is None]
    for start in range(0, len(unread), _TEXTS_AT_ONCE):
        some = unread[start : start + _TEXTS_AT_ONCE]
        read.update(
            zip(some, await asyncio.gather(*(scene.infer(model, text) for text in some)), strict=True)
        )
    inferences = [cast(Inference, each) for each in read.values()]
    vectors = _units(np.stack([each.output for each in inferences]))
    rows = {text: row for row, text in enumerate(texts)}
    means = [vectors[[rows[text] for text in prompts]].mean(0) for _, prompts in asked.prompts]
    return _units(np.stack(means)), inferences[0].model


def _units(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Vectors along the last axis, each at length 1."""
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=-1, keepdims=True)
    result: NDArray[np.float64] = exact / np.maximum(lengths, _EPSILON)
    return result


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares that make 1."""
    powers = np.exp(logits - logits.max())
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares


def _result(
    asked: LabelSet,
    thresholds: Mapping[str, float],
    shares: Sequence[float] | NDArray[np.float64],
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
