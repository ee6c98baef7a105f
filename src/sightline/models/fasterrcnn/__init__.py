"""Faster R-CNN, a detector of everyday things: boxes of persons, animals, vehicles, furniture and food.

Answers equal those of ``torchvision.models.detection.fasterrcnn_resnet50_fpn`` with its COCO_V1 weights. Two
graphs do what is heavy; what lies between them (anchors, decoding, suppression) is numpy.

S. Ren, K. He, R. Girshick, J. Sun: Faster R-CNN: Towards Real-Time Object Detection with Region Proposal
Networks, 2015.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sightline.capabilities.detection import OBJECT_BOXES, PERSON_BOXES
from sightline.models import GraphLoader, GraphOptions, ModelCard, ModelDefinition
from sightline.models.fasterrcnn.detector import ObjectDetector
from sightline.networks import graph_artifacts
from sightline.networks.fasterrcnn import FasterRcnn
from sightline.weights.sources import Artifact, UrlFile

FEATURES = "features.onnx"
BOXES = "boxes.onnx"
CHECKPOINT = "checkpoint.pth"

CARD = ModelCard(
    name="fasterrcnn-resnet50-fpn",
    capabilities=frozenset({PERSON_BOXES, OBJECT_BOXES}),
    description="Faster R-CNN ResNet-50 FPN: boxes of persons and 79 other kinds of things (COCO)",
    licence="BSD-3-Clause",
    homepage="https://github.com/pytorch/vision",
    preprocessing="bilinear-800-1333-pad-32",
    # Both as torchvision lists them for COCO_V1.
    parameters=41_755_286,
    multiply_adds=134_380_000_000,
    artifacts=(
        Artifact(
            CHECKPOINT,
            (UrlFile("https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"),),
            sha256="258fb6c638b15964ddcdd1ae0748c5eef1be9e732750120cc857feed3faac384",
            size_bytes=167_502_836,
            intermediate=True,
        ),
        *graph_artifacts(FasterRcnn(), CHECKPOINT),
    ),
    # One photo takes all cores for most of a second; a second one in the batch would only make both wait.
    max_batch=1,
)


def load(files: Mapping[str, Path], graphs: GraphLoader) -> ObjectDetector:
    """Open both graphs as detectors: corners are cut to whole pixels, boxes compete by tiny differences."""
    features, boxes = (graphs(files[name], GraphOptions(detects=True)) for name in (FEATURES, BOXES))
    return ObjectDetector(features, boxes, graphs.threads)


MODELS = (ModelDefinition(CARD, load),)
