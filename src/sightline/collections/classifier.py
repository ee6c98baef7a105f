"""A version ready to judge: one product of two vectors."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.collections.records import Recipe, Record
from sightline.errors import VectorsRefused

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Judgement:
    """``score`` is the log-odds of being in the collection, ``probability`` their logistic function."""

    score: float
    probability: float


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """One version of one collection. ``weights`` float64 [dimensions].

    ``fingerprint`` is 16 hex digits over the digest of the weights and the recipe: equal ones answer alike.
    """

    record: Record
    weights: NDArray[np.float64]
    intercept: float
    fingerprint: str

    @classmethod
    def of(cls, record: Record, weights: NDArray[np.float64], intercept: float) -> Classifier:
        digest = hashlib.sha256(f"{record.weights_sha256}\0{record.recipe}\0".encode())
        for space in record.recipe.spaces:
            digest.update(f"{space.name}\0{space.fingerprint}\0".encode())
        return cls(record, weights, intercept, digest.hexdigest()[:16])

    @property
    def recipe(self) -> Recipe:
        return self.record.recipe

    @property
    def of_unknown_origin(self) -> tuple[str, ...]:
        """Spaces whose vectors it was trained on without knowing which model made them."""
        return tuple(space.name for space in self.recipe.spaces if space.fingerprint is None)

    def judge(self, vectors: Sequence[Vector], fingerprints: Sequence[str]) -> Judgement:
        """The raw embeddings of one picture, one per space of the recipe and in its order.

        Raises:
            VectorsRefused: one is of another model than this was trained on, or they have other dimensions.
        """
        for space, fingerprint in zip(self.recipe.spaces, fingerprints, strict=True):
            if space.fingerprint not in (None, fingerprint):
                raise VectorsRefused(
                    f"collection {self.record.collection} was trained on vectors of {space.name} with "
                    f"fingerprint {space.fingerprint}; the one here has {fingerprint}: train it again"
                )
        vector = vectors[0] if len(vectors) == 1 else np.concatenate(vectors)
        if vector.shape != self.weights.shape:
            raise VectorsRefused(
                f"collection {self.record.collection} was trained on {self.weights.size} numbers per "
                f"picture, and the embeddings here have {vector.size}"
            )
        score = float(self.weights.dot(vector)) + self.intercept
        if not math.isfinite(score):
            raise VectorsRefused("the embedding of the picture is not made of finite numbers")
        return Judgement(score, _logistic(score))

    def scores(self, vectors: NDArray[Any]) -> NDArray[np.float64]:
        """Log-odds, float64 [N], of ``vectors`` [N, dimensions] that were made by its recipe."""
        result: NDArray[np.float64] = vectors @ self.weights + self.intercept
        return result

    def probabilities(self, vectors: NDArray[Any]) -> NDArray[np.float64]:
        """Float64 [N] for ``vectors`` [N, dimensions]."""
        return logistic(self.scores(vectors))


def _logistic(score: float) -> float:
    """1 / (1 + e^-score), where e^-score must not overflow."""
    if score >= 0:
        return 1.0 / (1.0 + math.exp(-score))
    raised = math.exp(score)
    return raised / (1.0 + raised)


def logistic(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + e^-score) of each, float64 of the same shape."""
    result: NDArray[np.float64] = np.exp(-np.logaddexp(0.0, -scores))
    return result


def numbers_to_bytes(weights: NDArray[np.float64], intercept: float) -> bytes:
    """An npz file of weights [dimensions] and intercept []."""
    buffer = io.BytesIO()
    np.savez(buffer, weights=np.asarray(weights, "<f8"), intercept=np.asarray(intercept, "<f8"))
    return buffer.getvalue()


def numbers_from_bytes(data: bytes, dimensions: int) -> tuple[NDArray[np.float64], float]:
    """Read numbers that ``numbers_to_bytes`` wrote. Raises ValueError for anything else; never unpickles."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            weights, intercept = file["weights"], file["intercept"]
    except (OSError, KeyError, EOFError, TypeError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(f"not an npz file of weights and intercept ({type(error).__name__})") from None
    if weights.shape != (dimensions,) or intercept.shape != ():
        raise ValueError(f"weights of shape {weights.shape} for {dimensions} dimensions")
    if {weights.dtype, intercept.dtype} != {np.dtype(np.float64)}:
        raise ValueError("numbers that are not float64")
    if not (np.isfinite(weights).all() and np.isfinite(intercept)):
        raise ValueError("numbers that are not finite")
    weights.flags.writeable = False
    return weights, float(intercept)
