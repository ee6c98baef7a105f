"""CLIP (OpenAI 2021): pictures and short English texts as vectors of one space.

A picture tower and a text tower are two models, each loaded only if asked for. Vectors are raw: neither
normalised nor scaled. The activation is QuickGELU, ``x * sigmoid(1.702 x)``, as the weights were trained.
Constants are those of the reference preprocessing (github.com/openai/CLIP, ``clip.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sightline.errors import InvalidParameters, ModelBroken
from sightline.models import Embedding, Graph, GraphLoader, ModelCard, ModelDefinition
from sightline.models.clip_backbone import SQUARE, VIT_L_14_BYTES, VIT_L_14_GRAPH, VIT_L_14_SHA256
from sightline.models.embedders import ImageTower, only_input, output_index, rows
from sightline.types import Capability
from sightline.weights.sources import Artifact, Exported, HubFile

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["CONTEXT_TOKENS", "END_TOKEN", "MODELS", "SQUARE", "TOKENIZER", "TOWERS", "Tower"]

CONTEXT_TOKENS = 77
# exp(logit_scale) of the released ViT-B/32 and ViT-L/14: both store 4.6052, the natural logarithm of 100, at
# which training capped it (Radford et al. 2021, section 2.5).
SIMILARITY_SCALE = 100.0
END_TOKEN = 49407

# Texts are padded to a multiple of this: a graph prepares itself anew for each length it has not seen, and
# computing 77 tokens for a text of eight costs five times as much.
_LENGTH_STEP = 8
_SHOWN_CHARACTERS = 60

TokenIds = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Tower:
    """One half of a CLIP model: where its original weights lie and what is known of it."""

    name: str
    space: str
    dimensions: int
    repo: str
    revision: str
    reads_text: bool
    parameters: int
    multiply_adds: int
    max_batch: int
    graph: HubFile
    graph_sha256: str
    graph_bytes: int | None = None

    @property
    def graph_name(self) -> str:
        return "text.onnx" if self.reads_text else "image.onnx"


_B32 = "Xenova/clip-vit-base-patch32", "d15189d7028b43f1d3e65039190477f6af591c2a"

# Both models read with the same byte-pair vocabulary.
TOKENIZER = Artifact(
    name="tokenizer.json",
    sources=(
        HubFile(
            "openai/clip-vit-large-patch14", "tokenizer.json", "32bd64288804d66eefd0ccbe215aa642df71cc41"
        ),
        Exported("clip"),
    ),
    sha256="a83e0809aa4c3af7208b2df632a7a69668c6d48775b3c3fe4e1b1199d1f8b8f4",
    size_bytes=2_224_003,
)

TOWERS = (
    Tower(
        name="clip-vit-b-32",
        space="clip-vit-b-32",
        dimensions=512,
        repo="openai/clip-vit-base-patch32",
        revision="3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        reads_text=False,
        parameters=87_849_216,
        multiply_adds=4_410_000_000,
        max_batch=16,
        graph=HubFile(_B32[0], "onnx/vision_model.onnx", _B32[1]),
        graph_sha256="fd6e1402a588279d1723c7534d4bcba5bc0b14b47dfab0e46f8c47b8270d7d40",
        graph_bytes=351_685_709,
    ),
    Tower(
        name="clip-vit-b-32-text",
        space="clip-vit-b-32",
        dimensions=512,
        repo="openai/clip-vit-base-patch32",
        revision="3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        reads_text=True,
        parameters=63_428_096,
        multiply_adds=2_980_000_000,
        max_batch=32,
        graph=HubFile(_B32[0], "onnx/text_model.onnx", _B32[1]),
        graph_sha256="3f6571f5bad13a97c469c1622e1cfc4d9aef78b79fdbfcff804ca357bfada8cc",
        graph_bytes=254_058_553,
    ),
    Tower(
        name="clip-vit-l-14",
        space="clip-vit-l-14",
        dimensions=768,
        repo="openai/clip-vit-large-patch14",
        revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
        reads_text=False,
        parameters=303_966_208,
        multiply_adds=81_000_000_000,
        max_batch=4,
        graph=VIT_L_14_GRAPH,
        graph_sha256=VIT_L_14_SHA256,
        graph_bytes=VIT_L_14_BYTES,
    ),
    Tower(
        name="clip-vit-l-14-text",
        space="clip-vit-l-14",
        dimensions=768,
        repo="openai/clip-vit-large-patch14",
        revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
        reads_text=True,
        parameters=123_650_304,
        multiply_adds=6_650_000_000,
        max_batch=32,
        graph=HubFile(VIT_L_14_GRAPH.repo, "onnx/text_model.onnx", VIT_L_14_GRAPH.revision),
        graph_sha256="a86051a90491b97e2ea1d0351ef664926735bca7536034384f901915ee91fd69",
    ),
)


class ClipImage(ImageTower):
    """Pictures to float32 ``[dimensions]``."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph, SQUARE)


class ClipText:
    """Texts to float32 ``[dimensions]``. The graph reads integer ids ``[N, L]``, L up to 77."""

    def __init__(self, graph: Graph, tokenizer: Tokenizer) -> None:
        self._graph = graph
        self._tokenizer = tokenizer
        self._input = only_input(graph, "input_ids", "attention_mask")
        self._output = output_index(graph, "text_embeds")
        if not self._input.dtype.startswith("int") or len(self._input.shape) != 2:
            raise ModelBroken("A CLIP text graph reads integer token ids [N, L]")

    def prepare(self, subject: str) -> TokenIds:
        """Token ids from the start token to the first end token, int64 [length].

        Raises:
            InvalidParameters: more than 77 tokens. The reference refuses such a text too.
        """
        ids: list[int] = self._tokenizer.encode(subject).ids
        if len(ids) > CONTEXT_TOKENS:
            raise InvalidParameters(
                f"The text {_beginning(subject)} has {len(ids)} tokens, its start and end included, and CLIP "
                f"reads at most {CONTEXT_TOKENS}; shorten it."
            )
        # The vector is read at the first end token, and nothing after it can be seen from there.
        return np.array(ids[: ids.index(END_TOKEN) + 1], np.int64)

    def infer(self, items: Sequence[TokenIds]) -> list[Embedding]:
        batch = np.zeros((len(items), self._padded_length(items)), self._input.dtype)
        for row, ids in zip(batch, items, strict=True):
            row[: len(ids)] = ids
        inputs = {self._input.name: batch}
        for spec in self._graph.inputs:
            if spec.name == "attention_mask":  # attention is causal: what is padded needs no hiding
                inputs[spec.name] = np.ones(batch.shape, spec.dtype)
        return rows(self._graph.run(inputs)[self._output])

    def _padded_length(self, items: Sequence[TokenIds]) -> int:
        fixed = self._input.shape[1]
        if fixed is not None:
            return fixed
        longest = max(len(ids) for ids in items)
        return min(-(-longest // _LENGTH_STEP) * _LENGTH_STEP, CONTEXT_TOKENS)


def _beginning(text: str) -> str:
    """Enough of it to find it among the texts of a request."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…")


def _load_image(files: Mapping[str, Path], graphs: GraphLoader) -> ClipImage:
    return ClipImage(graphs(files["image.onnx"]))


def _load_text(files: Mapping[str, Path], graphs: GraphLoader) -> ClipText:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(files[TOKENIZER.name]))
    except Exception as error:  # the library raises bare Exception
        raise ModelBroken(f"{TOKENIZER.name} does not load: {type(error).__name__}") from error
    if tokenizer.token_to_id("<|endoftext|>") != END_TOKEN:
        raise ModelBroken(f"{TOKENIZER.name} is not CLIP's: its end token is not {END_TOKEN}")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return ClipText(graphs(files["text.onnx"]), tokenizer)


def _definition(tower: Tower) -> ModelDefinition:
    graph = Artifact(
        name=tower.graph_name,
        sources=(tower.graph, Exported("clip")),
        sha256=tower.graph_sha256,
        size_bytes=tower.graph_bytes,
    )
    kind = "texts" if tower.reads_text else "pictures"
    card = ModelCard(
        name=tower.name,
        capabilities=frozenset(
            {Capability.TEXT_EMBEDDING if tower.reads_text else Capability.IMAGE_EMBEDDING}
        ),
        description=f"Vectors of {tower.dimensions} numbers for {kind}, comparable within {tower.space}.",
        licence="MIT",
        homepage="https://github.com/openai/CLIP",
        preprocessing="clip-text-77" if tower.reads_text else "clip-224-bicubic-middle",
        parameters=tower.parameters,
        multiply_adds=tower.multiply_adds,
        artifacts=(graph, TOKENIZER) if tower.reads_text else (graph,),
        space=tower.space,
        similarity_scale=SIMILARITY_SCALE,
        max_batch=tower.max_batch,
        exporter="clip",
    )
    return ModelDefinition(card, _load_text if tower.reads_text else _load_image)


MODELS = tuple(_definition(tower) for tower in TOWERS)
