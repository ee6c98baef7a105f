"""What is compared between f32 and half precision, by kind of answer. Arithmetic on answers given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sightline.capabilities.caption import CAPTION
from sightline.capabilities.detection import ANIMAL_BOXES, FACE_BOXES, OBJECT_BOXES, PERSON_BOXES
from sightline.capabilities.embedding import IMAGE_EMBEDDING, Embedding
from sightline.capabilities.geolocation import GEOLOCATION, Geolocation
from sightline.capabilities.safety import NSFW_SCORE
from sightline.capabilities.species import SPECIES, SpeciesScores
from sightline.capabilities.text import TEXT_LINES, PageText
from sightline.errors import InvalidRequest
from sightline.models import ModelCard
from sightline.types import Detection
from sightline.weights.drift import FindFigures, Limits, Spread

# Two boxes of one label are one find from here on, as COCO and Pascal VOC count.
LEAST_OVERLAP = 0.5
# Of docs/design.md, where it is said of embeddings that are served in half precision.
LEAST_COSINE = 0.999
# Photos that may get another first class.
OTHER_CLASS_SHARE = 0.01
_EXAMPLES = 5

Pair = tuple[Detection | None, Detection | None]
# Answers with a score for each class.
Ranked = SpeciesScores | Geolocation | float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether all is within the limits and, if not, what is beyond. None: there are no limits for this."""

    within: bool | None
    beyond: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VectorFigures:
    photos: int
    cosine_median: float
    cosine_least: float


@dataclass(frozen=True, slots=True)
class RankFigures:
    """``scores``: of each photo the greatest difference of a label's score."""

    photos: int
    same_first: int
    scores: Spread


@dataclass(frozen=True, slots=True)
class TextFigures:
    """``examples``: the first few texts that differ, in f32 and in half precision."""

    photos: int
    same: int
    examples: tuple[tuple[str, str], ...]


Figures = FindFigures | VectorFigures | RankFigures | TextFigures


class Tally(Protocol):
    """Takes both answers to each photo; its figures need at least one."""

    def add(self, f32: Any, half: Any) -> None: ...

    def figures(self) -> Figures: ...

    def judge(self, limits: Limits) -> Verdict: ...


def tally_for(card: ModelCard, min_score: float) -> Tally:
    """What compares the answers of a model.

    Raises:
        InvalidRequest: it says nothing about photos that could be compared.
    """
    gives = card.capabilities
    if gives & {
        PERSON_BOXES,
        FACE_BOXES,
        OBJECT_BOXES,
        ANIMAL_BOXES,
    }:
        return Finds(min_score)
    if IMAGE_EMBEDDING in gives:
        return Vectors()
    if gives & {SPECIES, GEOLOCATION, NSFW_SCORE}:
        return Ranks()
    if gives & {CAPTION, TEXT_LINES}:
        return Texts()
    named = ", ".join(sorted(capability.name for capability in gives))
    raise InvalidRequest(
        f"{card.name} gives {named}, which says nothing about a photo that could be compared; drift is "
        "measured of models that give boxes, image embeddings, species, geolocation, captions, text lines "
        "or a safety score"
    )


class Finds:
    """Boxes with labels and scores. Finds of less than ``min_score`` in both precisions are left out."""

    def __init__(self, min_score: float) -> None:
        self._min_score = min_score
        self._photos = 0
        self._crossed = 0
        self._alone = [0, 0]
        self._corners: list[float] = []
        self._scores: list[float] = []

    def add(self, f32: Sequence[Detection], half: Sequence[Detection]) -> None:
        self._photos += 1
        for one, other in paired(_finite(f32), _finite(half)):
            sure = [find is not None and find.score >= self._min_score for find in (one, other)]
            if not any(sure):
                continue
            if one is None or other is None:
                self._alone[one is None] += 1
                continue
            self._crossed += not all(sure)
            self._corners.append(float(np.abs(_corners([one]) - _corners([other])).max()))
            self._scores.append(abs(one.score - other.score))

    def figures(self) -> FindFigures:
        return FindFigures(
            photos=self._photos,
            both=len(self._corners),
            crossed=self._crossed,
            only_f32=self._alone[0],
            only_half=self._alone[1],
            corners_px=spread(self._corners) if self._corners else None,
            scores=spread(self._scores) if self._scores else None,
        )

    def judge(self, limits: Limits) -> Verdict:
        found = self.figures()
        if not found.finds:
            return Verdict(False, (f"nothing was found with a score of {self._min_score:g} or more",))
        beyond = []
        alone = found.only_f32 + found.only_half
        if alone > limits.alone_share * found.finds:
            beyond.append(f"{alone} of {found.finds} finds are in one precision only")
        if found.corners_px and found.corners_px.percentile_95 > limits.pixels:
            moved = found.corners_px.percentile_95
            beyond.append(
                f"5 of 100 finds moved by {moved:.3g} pixels or more, {limits.pixels:g} is the limit"
            )
        if found.scores and found.scores.percentile_95 > limits.score:
            moved = found.scores.percentile_95
            beyond.append(f"5 of 100 scores moved by {moved:.3g} or more, {limits.score:g} is the limit")
        return Verdict(not beyond, tuple(beyond))


class Vectors:
    """Embeddings, float32 ``[dimensions]``."""

    def __init__(self) -> None:
        self._cosines: list[float] = []

    def add(self, f32: Embedding, half: Embedding) -> None:
        self._cosines.append(cosine(f32, half))

    def figures(self) -> VectorFigures:
        cosines = self._cosines
        return VectorFigures(len(cosines), float(np.median(cosines)), min(cosines))

    def judge(self, limits: Limits) -> Verdict:
        least = min(self._cosines)
        if least >= LEAST_COSINE:
            return Verdict(True)
        return Verdict(False, (f"the least cosine is {least:.6f}, and {LEAST_COSINE} is the limit",))


class Ranks:
    """Classes with scores, the likeliest first. A single score is that of one of two classes."""

    def __init__(self) -> None:
        self._same = 0
        self._scores: list[float] = []

    def add(self, f32: Ranked, half: Ranked) -> None:
        one, other = _ranked(f32), _ranked(half)
        self._same += next(iter(one), None) == next(iter(other), None)
        # A class that a list leaves out has at most the least score of that list.
        least = [min(each.values(), default=0.0) for each in (one, other)]
        differences = [
            abs(one[label] - other[label])
            if label in one and label in other
            else max(0.0, one[label] - least[1] if label in one else other[label] - least[0])
            for label in one | other
        ]
        self._scores.append(max(differences, default=0.0))

    def figures(self) -> RankFigures:
        return RankFigures(len(self._scores), self._same, spread(self._scores))

    def judge(self, limits: Limits) -> Verdict:
        found, beyond = self.figures(), []
        changed = found.photos - found.same_first
        if changed > OTHER_CLASS_SHARE * found.photos:
            beyond.append(f"{changed} of {found.photos} photos got another first class")
        if found.scores.percentile_95 > limits.score:
            moved = found.scores.percentile_95
            beyond.append(f"in 5 of 100 photos a score moved by {moved:.3g}, {limits.score:g} is the limit")
        return Verdict(not beyond, tuple(beyond))


class Texts:
    """Captions, or the text in a photo. Whether another text is as good is for people to say."""

    def __init__(self) -> None:
        self._photos = 0
        self._same = 0
        self._examples: list[tuple[str, str]] = []

    def add(self, f32: str | PageText, half: str | PageText) -> None:
        one, other = _text(f32), _text(half)
        self._photos += 1
        if one == other:
            self._same += 1
        elif len(self._examples) < _EXAMPLES:
            self._examples.append((one, other))

    def figures(self) -> TextFigures:
        return TextFigures(self._photos, self._same, tuple(self._examples))

    def judge(self, limits: Limits) -> Verdict:
        return Verdict(None)


def paired(f32: Sequence[Detection], half: Sequence[Detection]) -> list[Pair]:
    """Every find of either, once, with its partner of the other if it has one.

    Finds of ``f32`` choose in the order of their scores: of those of ``half`` with the same label that are
    free, the one that overlaps most, if by an intersection over union of at least 0.5; of several that
    overlap as much, the one with the nearest score.
    """
    overlaps = _overlaps(_corners(f32), _corners(half))
    free = dict(enumerate(half))
    pairs: list[Pair] = []
    for place in sorted(range(len(f32)), key=lambda place: -f32[place].score):
        one = f32[place]
        fits = [
            (overlaps[place, other], -abs(find.score - one.score), other)
            for other, find in free.items()
            if find.label == one.label and overlaps[place, other] >= LEAST_OVERLAP
        ]
        pairs.append((one, free.pop(max(fits)[2]) if fits else None))
    return pairs + [(None, find) for find in free.values()]


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value; the percentile is interpolated between neighbours."""
    middle, most = np.percentile(values, (50, 95)).tolist()
    return Spread(middle, most, float(max(values)))


def cosine(one: Embedding, other: Embedding) -> float:
    """0 where either has no direction: all zeros, or something that is no number."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    if not np.isfinite(lengths) or not lengths:
        return 0.0
    return float(np.clip(first @ second / lengths, -1, 1))


def _corners(finds: Sequence[Detection]) -> NDArray[np.float64]:
    """f64 ``[n, 4]``"""
    boxes = [(find.box.x_min, find.box.y_min, find.box.x_max, find.box.y_max) for find in finds]
    return np.array(boxes, np.float64).reshape(len(finds), 4)


def _finite(finds: Sequence[Detection]) -> list[Detection]:
    """Those whose numbers are numbers. Arithmetic that overflows has found nothing."""
    sound = np.isfinite(_corners(finds)).all(axis=1) & np.isfinite([find.score for find in finds])
    return [find for find, fine in zip(finds, sound.tolist(), strict=True) if fine]


def _overlaps(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union f64 ``[n, m]`` of boxes ``[n, 4]`` and ``[m, 4]``.

    Of boxes that have no area, as at the edge of a photo, only the very same overlap: by 1.
    """
    least = np.maximum(one[:, None, :2], other[None, :, :2])
    most = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.clip(most - least, 0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - common
    same = (one[:, None] == other[None]).all(axis=2).astype(np.float64)
    shares: NDArray[np.float64] = np.divide(common, union, out=same, where=union > 0)
    return shares


def _text(answer: str | PageText) -> str:
    return answer if isinstance(answer, str) else "\n".join(line.text for line in answer.lines)


def _ranked(answer: Ranked) -> dict[Any, float]:
    """Scores by class, the likeliest first."""
    if isinstance(answer, float):
        return dict(sorted({"yes": answer, "no": 1 - answer}.items(), key=lambda each: -each[1]))
    if isinstance(answer, Geolocation):
        return {each.coordinate: each.probability for each in answer.candidates}
    return dict(zip(answer.labels, answer.scores, strict=True))
