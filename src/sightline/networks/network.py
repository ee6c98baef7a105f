"""The contract of a network definition, and its use by a model's card."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

import numpy as np

from sightline.errors import CheckpointInvalid
from sightline.networks.builder import GraphBuilder
from sightline.weights.checkpoints import read_checkpoint
from sightline.weights.sources import Artifact, Built, Recipe, Report
from sightline.weights.tensors import Checkpoint, Shape, Tensor

Metadata = Mapping[str, str]


class Network(ABC):
    """An architecture at one size: the tensors of its checkpoint and the graphs that are made of them.

    Subclasses are frozen dataclasses whose fields are the sizes. One network can become several graphs.
    """

    # Patterns (fnmatch) of tensors that a checkpoint may also hold and that no graph needs.
    ignored: tuple[str, ...] = ()

    @property
    def copies(self) -> Mapping[str, str]:
        """Tensors that a checkpoint may hold a second time: the copy's name to the original's."""
        return {}

    @property
    @abstractmethod
    def tensors(self) -> Mapping[str, Shape]:
        """Every tensor that the graphs use, by its published name."""

    @property
    @abstractmethod
    def graphs(self) -> Mapping[str, Callable[[Checkpoint], GraphBuilder]]:
        """By file name, what builds each graph from exactly the tensors above."""

    @abstractmethod
    def draw(self, seed: int) -> Checkpoint:
        """Return made-up tensors under the published names: equal seeds, equal numbers.

        The numbers keep activations in the range that trained weights do, so that answers differ from picture
        to picture.
        """

    @abstractmethod
    def tiny(self) -> Self:
        """Return the same structure with few layers and channels, and inputs and outputs unchanged."""

    def published_name(self, name: str) -> str:
        """Return today's name of a tensor that files of another age call ``name``."""
        return name


def fitted(network: Network, checkpoint: Checkpoint) -> Checkpoint:
    """Return the tensors that ``network`` uses, in its own order.

    Raises:
        CheckpointInvalid: a tensor is missing, unexpected, has another shape or is a copy that differs; the
            message names the first.
    """
    found = {network.published_name(name): tensor for name, tensor in checkpoint.items()}
    for copy, original in network.copies.items():
        _drop_copy(found, copy, original)
    expected = network.tensors
    for name, shape in expected.items():
        if name not in found:
            raise CheckpointInvalid(f"the checkpoint has no tensor {name}; expected {list(shape)}")
        if found[name].shape != shape:
            raise CheckpointInvalid(
                f"tensor {name} of the checkpoint has shape {list(found[name].shape)}; expected {list(shape)}"
            )
    for name in found:
        if name not in expected and not any(fnmatchcase(name, pattern) for pattern in network.ignored):
            raise CheckpointInvalid(f"the checkpoint has a tensor {name} that this model does not have")
    return {name: found[name] for name in expected}


def _drop_copy(found: dict[str, Tensor], copy: str, original: str) -> None:
    if copy not in found:
        return
    tensor = found.pop(copy)
    kept = found.setdefault(original, tensor)
    if kept.shape != tensor.shape or not np.array_equal(kept.numpy(), tensor.numpy()):
        raise CheckpointInvalid(f"tensor {copy} of the checkpoint differs from {original}; expected a copy")


def graph_artifacts(network: Network, checkpoint: str) -> tuple[Artifact, ...]:
    """Return an artifact for each graph of ``network``, built from the artifact named ``checkpoint``."""
    return tuple(_graph_artifact(network, checkpoint, name) for name in network.graphs)


def _graph_artifact(network: Network, checkpoint: str, graph: str) -> Artifact:
    def build(inputs: Mapping[str, Path], output: Path, report: Report) -> None:
        report(f"convert {graph}", 0, 1)
        tensors = fitted(network, read_checkpoint(inputs[checkpoint]))
        network.graphs[graph](tensors).save(output, {"graph": graph, "weights": "published"})
        report(f"convert {graph}", 1, 1)

    def make_up(output: Path, recipe: Recipe) -> None:
        sized = network.tiny() if recipe.size == "tiny" else network
        metadata = {"graph": graph, "weights": "random", "seed": str(recipe.seed), "size": recipe.size}
        sized.graphs[graph](sized.draw(recipe.seed)).save(output, metadata)

    return Artifact(graph, (Built((checkpoint,), build),), made_up=make_up)
