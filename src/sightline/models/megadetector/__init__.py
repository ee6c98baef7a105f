"""MegaDetector v5a: boxes of animals, humans and vehicles in photos of camera traps.

Answers equal those of the published model as SpeciesNet runs it: letterbox to 1280 pixels, YOLOv5x6, one
suppression for all, whole pixels. Two kinds of graph are read, ours and any usual ONNX export of a
YOLOv5 with these three classes: see :mod:`sightline.models.megadetector.detector`.

S. Beery, D. Morris, S. Yang: Efficient Pipeline for Camera Trap Image Review, 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sightline.capabilities.detection import ANIMAL_BOXES
from sightline.models import GraphLoader, GraphOptions, ModelCard, ModelDefinition
from sightline.models.megadetector.detector import AnimalDetector
from sightline.networks import graph_artifacts
from sightline.networks.yolov5 import YoloV5x6
from sightline.weights.sources import Artifact, HubFile, UrlFile

DETECTOR = "detector.onnx"
CHECKPOINT = "checkpoint.pt"

CARD = ModelCard(
    name="megadetector-v5a",
    capabilities=frozenset({ANIMAL_BOXES}),
    description="MegaDetector v5a (YOLOv5x6): boxes of animals, humans and vehicles in camera-trap photos",
    # Its makers restrict nothing, and say that the licence may follow from the code that runs it; it was
    # trained with YOLOv5 while that was under the GPL, and Microsoft's list of models says AGPL-3.0. None of
    # that code runs here, but whose view holds is for the person who installs it to decide.
    licence="contested: unrestricted by its makers, AGPL-3.0 in Microsoft's model zoo",
    homepage="https://github.com/agentmorris/MegaDetector",
    preprocessing="letterbox-1280-linear",
    # With normalisations inside the convolutions.
    parameters=139_990_096,
    # At 1280 × 960, from the 209.8 GFLOP at 640 × 640 that are published for this architecture.
    multiply_adds=315_000_000_000,
    artifacts=(
        Artifact(
            CHECKPOINT,
            (
                # Its maker's own repositories, there and at GitHub.
                HubFile(
                    "agentmorris/megadetector", "md_v5a.0.0.pt", "222d40e2cf24749c5ce3e67f2f3deb39df30d181"
                ),
                UrlFile("https://github.com/agentmorris/MegaDetector/releases/download/v5.0/md_v5a.0.0.pt"),
            ),
            sha256="94e88fe97c8050f2e3d0cc4cb4f64729d639d74312dcbe2f74f8eecd3b01b276",
            size_bytes=280_766_885,
            intermediate=True,
        ),
        *graph_artifacts(YoloV5x6(), CHECKPOINT),
    ),
    # One photo keeps all cores busy for a second: two together took twice as long, and twice the memory.
    max_batch=1,
)


def load(files: Mapping[str, Path], graphs: GraphLoader) -> AnimalDetector:
    """Open the graph as a detector: corners are rounded to whole pixels, thresholds decide what is told."""
    return AnimalDetector(graphs(files[DETECTOR], GraphOptions(detects=True)))


MODELS = (ModelDefinition(CARD, load),)
