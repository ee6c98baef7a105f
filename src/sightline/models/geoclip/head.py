"""The head: raw CLIP vectors of pictures to unit vectors that compare with the gallery's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.errors import CheckpointInvalid, ModelBroken
from sightline.models.geoclip.location_encoder import normalised
from sightline.weights.checkpoints import read_arrays
from sightline.weights.sources import Report

MLP_FILE = "image_encoder_mlp_weights.pth"
SCALE_FILE = "logit_scale_weights.pth"

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Head:
    """Two dense layers with a ReLU between, and the factor of cosines, all f32.

    ``first`` and ``second`` are weight [out, in] and bias [out].
    """

    first: tuple[Floats, Floats]
    second: tuple[Floats, Floats]
    scale: np.float32

    @property
    def input_dimensions(self) -> int:
        return int(self.first[0].shape[1])

    @property
    def output_dimensions(self) -> int:
        return int(self.second[0].shape[0])

    def embedded(self, features: NDArray[np.floating]) -> Floats:
        """[N, input_dimensions] to float32 [N, output_dimensions], each row of length 1."""
        hidden = np.maximum(features.astype(np.float32) @ self.first[0].T + self.first[1], 0)
        return normalised(hidden @ self.second[0].T + self.second[1])


def build_head(inputs: Mapping[str, Path], output: Path, report: Report) -> None:
    """Write ``head.npz`` from the published weights. The published scale is a logarithm, the kept one is not.

    Raises:
        CheckpointInvalid: a file does not hold what it should.
    """
    mlp, scale = read_arrays(inputs[MLP_FILE]), read_arrays(inputs[SCALE_FILE])
    try:
        np.savez(
            output,
            first_weight=mlp["0.weight"],
            first_bias=mlp["0.bias"],
            second_weight=mlp["2.weight"],
            second_bias=mlp["2.bias"],
            scale=np.exp(scale[""]),
        )
    except KeyError as error:
        raise CheckpointInvalid(f"the weights of the head are not those of GeoCLIP: no {error}") from error
    report("head", 1, 1)


def read_head(path: Path) -> Head:
    """Raises ModelBroken unless ``path`` was written by ``build_head``."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            head = Head(
                (arrays["first_weight"], arrays["first_bias"]),
                (arrays["second_weight"], arrays["second_bias"]),
                np.float32(arrays["scale"].item()),
            )
    except (OSError, ValueError, KeyError) as error:
        raise ModelBroken(f"{path.name} does not load: {type(error).__name__}") from error
    (middle, _), (_, end) = head.first[0].shape, head.second[0].shape
    if head.first[1].shape != (middle,) or end != middle or head.second[1].shape != head.second[0].shape[:1]:
        raise ModelBroken(f"{path.name} holds layers that do not fit together")
    return head
