"""Models: one file per family. This page is the contract; the files beside it are the families.

To add a model, add a file here (or in a plug-in folder) with ``MODELS = (ModelDefinition(card, load), ...)``.
Nothing else needs to know: the store pulls what the card lists, the engine gives it a lane, operations find
it by capability, and ``/v1/models``, the command line, metrics and docs read the card.

A model with files whose answers take seconds to minutes has ``Runs.ELSEWHERE``, and its ``load`` returns a
``RemoteModel``: ``GraphLoader.generator`` starts the process that it asks.

A model that stands on settings instead of files (a service elsewhere, a folder of the user's) is
``ModelDefinition(card, connect=connect)``; the store has no part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from sightline import registry
from sightline.capabilities import Capability
from sightline.errors import ConfigurationError
from sightline.models.generation import GenerationLimits, TextGenerator
from sightline.settings import GraphRuntime, Precision, Settings
from sightline.types import Provenance
from sightline.weights.sources import Artifact


class Runs(StrEnum):
    """Where a model's work is done.

    ``IN_SLOT`` computes, in batches, and waits its turn. ``ON_WORKER`` answers in less than a millisecond and
    need not wait for a slot that may be seconds into somebody's batch. ``IN_LOOP`` answers in microseconds
    without touching the disk: changing threads would cost more. ``ELSEWHERE`` is a ``RemoteModel``.
    """

    IN_SLOT = "in_slot"
    ON_WORKER = "on_worker"
    IN_LOOP = "in_loop"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Facts about a model that need no loading.

    Attributes:
        name: unique, lowercase with dashes; what requests, commands and metrics call it.
        preprocessing: short tag of the input rules, part of the fingerprint. Change it when pixels reach the
            network differently.
        parameters: number of weights.
        multiply_adds: per image (or text) at the usual input size.
        space: embeddings with equal ``space`` are comparable, e.g. a CLIP image and text tower.
        similarity_scale: what the cosine of a picture's and a text's vector is multiplied by before a softmax
            over texts, as the model was trained; None where there is no such thing.
        max_batch: most items one ``infer`` call gets; of a model elsewhere, most questions under way.
        runs: where its work is done.
        rank: of models with one capability, the one with the lowest is chosen where a request names none.
    """

    name: str
    capabilities: frozenset[Capability[Any, Any]]
    description: str
    licence: str
    homepage: str
    preprocessing: str
    parameters: int
    multiply_adds: int
    artifacts: tuple[Artifact, ...] = ()
    space: str | None = None
    similarity_scale: float | None = None
    max_batch: int = 16
    runs: Runs = Runs.IN_SLOT
    rank: int = 0


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


@dataclass(frozen=True, slots=True)
class GraphOptions:
    """How one graph differs from the settings.

    Attributes:
        precision, runtime: override the settings; None keeps them.
        detects: use the settings' precision of detectors, whose boxes come and go at thresholds.
        carried: inputs and outputs that are only handed from run to run. They stay in the type that is
            computed in, which saves converting them. Numpy has no bfloat16, so it is uint16 then; 0 is 0.
    """

    precision: Precision | None = None
    runtime: GraphRuntime | None = None
    detects: bool = False
    carried: Collection[str] = ()


AS_SET = GraphOptions()


class GraphLoader(Protocol):
    """Opens an ONNX file on the configured device."""

    @property
    def threads(self) -> int:
        """The number of threads that compute. Work of a model outside its graphs may keep as many busy."""
        ...

    def __call__(self, path: Path, options: GraphOptions = AS_SET) -> Graph: ...

    def generator(self, name: str, folder: Path, limits: GenerationLimits) -> TextGenerator:
        """Start the process that generates text with the OpenVINO files in ``folder``; wait until it can.

        Raises:
            ModelBroken: the files do not load.
        """
        ...


class Model(Protocol):
    """A loaded model. Its capabilities name the types of its subjects and outputs.

    ``prepare`` runs on a worker thread, many at a time. ``infer`` runs in a compute slot. It takes a batch
    and returns one output per item, in the same order. An output must not depend on the rest of the batch.
    A model with several capabilities returns the same output for a subject whichever of them is asked for.
    """

    def prepare(self, subject: Any) -> Any: ...

    def infer(self, items: Sequence[Any]) -> Sequence[Any]: ...


class RemoteModel(Protocol):
    """A model that another service or process runs (``Runs.ELSEWHERE``). It must not block the event loop."""

    async def answer(self, subject: Any, timeout_s: float) -> Any:
        """Raises errors of ``sightline.errors``; ``timeout_s`` is what the request has left."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True, slots=True)
class Connection:
    """A model that stands on settings. ``identity`` says what answers, e.g. an address and a model's name
    there: what its fingerprint is made from, so nothing secret."""

    model: Model | RemoteModel
    identity: str
    provenance: Provenance


@dataclass(frozen=True)
class ModelDefinition:
    """A card and how to come by what it describes: ``load`` from files, by artifact name, or ``connect``.

    ``connect`` opens no socket: it is called again after a failure, and at start for preloaded models.
    It raises ModelUnavailable, saying what to set, when nothing is configured. ``lacking`` says the same
    without connecting, for lists and for choosing between models: "set …", or None when nothing is missing.
    ``check`` raises ConfigurationError for what the settings name and is wrong, and is called once at start.
    ``made_up`` connects to what stands in for the model in a rehearsal.
    """

    card: ModelCard
    load: Callable[[Mapping[str, Path], GraphLoader], Model | RemoteModel] | None = None
    connect: Callable[[Settings], Connection] | None = None
    lacking: Callable[[Settings], str | None] = lambda settings: None
    check: Callable[[Settings], None] = lambda settings: None
    made_up: Callable[[Settings], Connection] | None = None

    def __post_init__(self) -> None:
        if (self.load is None) == (self.connect is None):
            raise ConfigurationError(f"model {self.name} needs either load or connect")

    @property
    def name(self) -> str:
        return self.card.name


Catalogue = Mapping[str, ModelDefinition]


def catalogue(plugins_dir: Path | None = None) -> Catalogue:
    """Every model built in, installed or plugged in, by name.

    Raises:
        ConfigurationError: a plug-in does not import, or two models claim one name.
    """
    return registry.discover("sightline.models", "MODELS", ModelDefinition, plugins_dir)
