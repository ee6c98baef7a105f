"""Models: one file per family. This page is the contract; the files beside it are the families.

To add a model, add a file here (or in a plug-in folder) with ``MODELS = (ModelDefinition(card, load), ...)``.
Nothing else needs to know: the store pulls what the card lists, the engine gives it a lane, operations find
it by capability, and ``/v1/models``, the command line, metrics and docs read the card.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sightline import registry
from sightline.settings import GraphRuntime, Precision
from sightline.types import Capability
from sightline.weights.sources import Artifact


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What is known of a model without loading it.

    Attributes:
        name: unique, lowercase with dashes; what requests, commands and metrics call it.
        preprocessing: short tag of the input rules, part of the fingerprint. Change it when pixels reach the
            network differently.
        parameters: number of weights.
        multiply_adds: per image (or text) at the usual input size.
        space: embeddings with equal ``space`` are comparable, e.g. a CLIP image and text tower.
        max_batch: most items one ``infer`` call gets.
        exporter: family in ``sightline.export`` that can make the artifacts, if any.
        looks_up: it answers in microseconds: on a worker thread, without waiting for a compute slot that may
            be seconds into somebody's batch.
    """

    name: str
    capabilities: frozenset[Capability]
    description: str
    licence: str
    homepage: str
    preprocessing: str
    parameters: int
    multiply_adds: int
    artifacts: tuple[Artifact, ...] = ()
    space: str | None = None
    max_batch: int = 16
    exporter: str | None = None
    looks_up: bool = False


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a graph. ``dtype`` is numpy's name; None in ``shape`` is a free dimension."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Graph(Protocol):
    """One loaded ONNX file. ``run`` is thread-safe and releases the GIL while it computes."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Outputs in the graph's own order; arrays the caller owns."""
        ...


class GraphLoader(Protocol):
    """Opens an ONNX file on the configured device. The arguments override the settings for one graph.

    A detector asks for ``Precision.F32``; a cascade with a new input shape per call asks for ONNX Runtime.
    """

    def __call__(
        self, path: Path, *, precision: Precision | None = None, runtime: GraphRuntime | None = None
    ) -> Graph: ...


class Model(Protocol):
    """A loaded model.

    The subject is an ``imaging.View`` for models that look, a ``str`` for those that read, a
    ``types.Coordinate`` for those that know places, a ``subjects.CaptionRequest`` for those that write.

    ``prepare`` runs on a worker thread, many at a time. ``infer`` runs in a compute slot: a batch in, as
    many outputs out in the same order; it must not depend on how items are batched. Detectors answer with
    ``list[types.Detection]`` in pixels of the view (persons labelled ``types.PERSON``), embedders with
    float32 ``[dimensions]``, captioners with ``str``, places with a ``types.Place`` per coordinate.
    """

    def prepare(self, subject: Any) -> Any: ...

    def infer(self, items: Sequence[Any]) -> Sequence[Any]: ...


@dataclass(frozen=True)
class ModelDefinition:
    """A card and how to load what it describes. ``load`` gets the card's files by artifact name."""

    card: ModelCard
    load: Callable[[Mapping[str, Path], GraphLoader], Model]

    @property
    def name(self) -> str:
        return self.card.name


Catalogue = Mapping[str, ModelDefinition]
Embedding = NDArray[np.float32]


def catalogue(plugins_dir: Path | None = None) -> Catalogue:
    """Every model built in, installed or plugged in, by name.

    Raises:
        ConfigurationError: a plug-in does not import, or two models claim one name.
    """
    return registry.discover("sightline.models", "MODELS", ModelDefinition, plugins_dir)
