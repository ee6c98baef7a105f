"""SpeciesNet's classifier: which of about 2,500 species, genera, families or things a crop shows.

Answers equal those of Google's ``speciesnet`` for its always-crop models. The three releases share one
network; labels, taxonomy and rules about countries moved between them. The rules are a model of their own,
found by the same ``space``.

T. Gadot et al.: To crop or not to crop: Comparing whole-image and cropped classification on a large dataset
of camera trap images, IET Computer Vision, 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sightline.models import GraphLoader, ModelCard, ModelDefinition
from sightline.models.speciesnet.classifier import SpeciesClassifier, read_labels
from sightline.types import Capability
from sightline.weights.sources import Artifact, Exported, HubFile, Source

CLASSIFIER = "classifier.onnx"
LABELS = "labels.txt"

_EXPORTED = Exported("speciesnet")
_STEM = "always_crop_99710272_22x8_v12_epoch_00148.labels"

# Where the labels of a release are mirrored. Of the newest no mirror is known: the exporter takes its labels
# from the release itself.
_MIRRORED_LABELS: Mapping[str, HubFile | None] = {
    "v4.0.1a": HubFile("Addax-Data-Science/SPECIESNET-v4-0-1-A-v1", f"{_STEM}.txt"),
    "v4.0.2a": HubFile("Addax-Data-Science/SPECIESNET-v4-0-2-A", f"{_STEM}.20251208.txt"),
    "v4.0.3a": None,
}


def card(version: str) -> ModelCard:
    """The card of one release, such as "v4.0.3a"."""
    mirror = _MIRRORED_LABELS[version]
    sources: tuple[Source, ...] = (_EXPORTED,) if mirror is None else (mirror, _EXPORTED)
    return ModelCard(
        name=f"speciesnet-{version}",
        capabilities=frozenset({Capability.SPECIES}),
        description=f"SpeciesNet {version} (EfficientNetV2-M): which animal a crop shows, 2,498 labels",
        licence="Apache-2.0",
        homepage="https://github.com/google/cameratrapai",
        preprocessing="stretch-480-linear",
        parameters=56_058_294,
        multiply_adds=24_600_000_000,
        artifacts=(Artifact(CLASSIFIER, (_EXPORTED,)), Artifact(LABELS, sources)),
        space=version,
        # One crop keeps all cores busy. Eight at once leave the caches: 76 instead of 72 ms for each.
        max_batch=4,
        exporter="speciesnet",
    )


def load(files: Mapping[str, Path], graphs: GraphLoader) -> SpeciesClassifier:
    return SpeciesClassifier(graphs(files[CLASSIFIER]), read_labels(files[LABELS]))


MODELS = tuple(ModelDefinition(card(version), load) for version in _MIRRORED_LABELS)
