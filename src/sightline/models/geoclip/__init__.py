"""GeoCLIP: where on Earth a photo was taken, as probabilities of 100,000 points.

Answers equal those of ``geoclip.GeoCLIP.predict`` (1.3.0, MIT), whose wheel holds the heads and the points;
the backbone is CLIP ViT-L/14. The vectors of the points are computed once, when the model is installed, and
mapped into memory; the reference computes them for each picture.

V. Vivanco Cepeda, G. K. Nayak, M. Shah: GeoCLIP: Clip-Inspired Alignment between Locations and Images for
Effective Worldwide Geo-localization, 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.capabilities.geolocation import GEOLOCATION
from sightline.errors import ModelBroken
from sightline.models import GraphLoader, ModelCard, ModelDefinition
from sightline.models.clip_backbone import SQUARE, VIT_L_14_CHECKPOINT, VIT_L_14_IMAGE
from sightline.models.embedders import ImageTower
from sightline.models.geoclip.head import MLP_FILE, SCALE_FILE, build_head, read_head
from sightline.models.geoclip.location_encoder import (
    COORDINATES_FILE,
    ENCODER_FILE,
    build_coordinates,
    build_gallery,
)
from sightline.models.geoclip.made_up import make_up_coordinates, make_up_gallery, make_up_head
from sightline.models.geoclip.posterior import Points
from sightline.models.geoclip.prediction import GeoClip
from sightline.networks import graph_artifacts
from sightline.weights.sources import Artifact, Built, WheelFile


def _released(name: str, folder: str, sha256: str, size_bytes: int) -> Artifact:
    source = WheelFile("geoclip", "1.3.0", f"geoclip/model/{folder}/{name}")
    return Artifact(name, (source,), sha256=sha256, size_bytes=size_bytes, intermediate=True)


CARD = ModelCard(
    name="geoclip",
    capabilities=frozenset({GEOLOCATION}),
    description="GeoCLIP: where on Earth a photo was taken, as probabilities of 100,000 points.",
    licence="MIT",
    homepage="https://github.com/VicenteVivanco/geo-clip",
    preprocessing="clip-224-bicubic-floor",
    # Backbone, head with its scale, and the location encoder, which is not needed after installing.
    parameters=303_966_208 + 984_321 + 9_449_472,
    # Backbone, head, and 512 for each of the 100,000 points.
    multiply_adds=81_000_000_000 + 983_040 + 51_200_000,
    artifacts=(
        VIT_L_14_CHECKPOINT,
        *graph_artifacts(VIT_L_14_IMAGE, VIT_L_14_CHECKPOINT.name),
        _released(
            MLP_FILE,
            "weights",
            "5342c391eec961796d04d02f2bd670bfa97b34ce32c656d0e0676581103c2c14",
            3_938_907,
        ),
        _released(
            SCALE_FILE, "weights", "9568e2e09dd19083082bf285b2c0c126867e40dbd275a8ee8c621888b861904e", 759
        ),
        _released(
            ENCODER_FILE,
            "weights",
            "94b80ae3af89fca78539e129dd2929d321247f5ceeeb0a31bc2c31041a253394",
            37_806_041,
        ),
        _released(
            COORDINATES_FILE,
            "gps_gallery",
            "3a00b1ba58f13443db726533b6399b39609e292df09d4e58792fa5949d1838b1",
            2_024_065,
        ),
        Artifact("head.npz", (Built((MLP_FILE, SCALE_FILE), build_head),), made_up=make_up_head),
        Artifact(
            "coordinates.npy", (Built((COORDINATES_FILE,), build_coordinates),), made_up=make_up_coordinates
        ),
        Artifact(
            "gallery.npy", (Built((ENCODER_FILE, COORDINATES_FILE), build_gallery),), made_up=make_up_gallery
        ),
    ),
    max_batch=4,
)


def load(files: Mapping[str, Path], graphs: GraphLoader) -> GeoClip:
    """Open the graph and map the gallery: its 205 MB are pages of the file, shared and given back at need."""
    gallery = _array(files["gallery.npy"], mapped=True)
    degrees = _array(files["coordinates.npy"])
    if degrees.ndim != 2 or degrees.shape[1] != 2 or not len(degrees):
        raise ModelBroken("The gallery's coordinates must be a latitude and a longitude for each point")
    head = read_head(files["head.npz"])
    tower = ImageTower(graphs(files["image.onnx"]), SQUARE)
    return GeoClip(tower, head, gallery, Points(degrees.astype(np.float64)))


def _array(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    try:
        loaded: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ModelBroken(f"{path.name} does not load: {type(error).__name__}") from error
    return loaded


MODELS = (ModelDefinition(CARD, load),)
