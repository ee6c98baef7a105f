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

from sightline.capabilities.embedding import IMAGE_EMBEDDING, TEXT_EMBEDDING, Embedding
from sightline.errors import InvalidParameters, ModelBroken
from sightline.models import Graph, GraphLoader, ModelCard, ModelDefinition
from sightline.models import clip_backbone as backbone
from sightline.models.clip_backbone import CONTEXT_TOKENS, END_TOKEN, SQUARE
from sightline.models.embedders import ImageTower, only_input, output_index, rows
from sightline.networks import clip as networks
from sightline.networks import graph_artifacts
from sightline.weights.sources import Artifact, HubFile, Recipe

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["CONTEXT_TOKENS", "END_TOKEN", "MODELS", "SQUARE", "TOKENIZER", "TOWERS", "Tower"]

# exp(logit_scale) of the released ViT-B/32 and ViT-L/14: both store 4.6052, the natural logarithm of 100, at
# which training capped it (Radford et al. 2021, section 2.5).
SIMILARITY_SCALE = 100.0

# Texts are padded to a multiple of this: a graph prepares itself anew for each length it has not seen, and
# computing 77 tokens for a text of eight costs five times as much.
_LENGTH_STEP = 8
_SHOWN_CHARACTERS = 60

TokenIds = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Tower:
    """One half of a CLIP model: its network, the checkpoint that holds it, and the facts of its card."""

    name: str
    space: str
    network: networks.ClipImage | networks.ClipText
    checkpoint: Artifact
    parameters: int
    multiply_adds: int
    max_batch: int

    @property
    def dimensions(self) -> int:
        """Numbers of a vector."""
        return self.network.dimensions

    @property
    def reads_text(self) -> bool:
        """Whether it reads texts rather than pictures."""
        return isinstance(self.network, networks.ClipText)

    @property
    def graph_name(self) -> str:
        """The name of its graph's file."""
        return "text.onnx" if self.reads_text else "image.onnx"


def _make_up_tokenizer(output: Path, recipe: Recipe) -> None:
    from sightline.models.clip_vocabulary import stand_in

    stand_in().save(str(output), pretty=False)


# Both models read with the same byte-pair vocabulary.
TOKENIZER = Artifact(
    name="tokenizer.json",
    sources=(
        HubFile(
            "openai/clip-vit-large-patch14", "tokenizer.json", "32bd64288804d66eefd0ccbe215aa642df71cc41"
        ),
    ),
    sha256="a83e0809aa4c3af7208b2df632a7a69668c6d48775b3c3fe4e1b1199d1f8b8f4",
    size_bytes=2_224_003,
    made_up=_make_up_tokenizer,
)

TOWERS = (
    Tower(
        name="clip-vit-b-32",
        space="clip-vit-b-32",
        network=backbone.VIT_B_32_IMAGE,
        checkpoint=backbone.VIT_B_32_CHECKPOINT,
        parameters=87_849_216,
        multiply_adds=4_410_000_000,
        max_batch=16,
    ),
    Tower(
        name="clip-vit-b-32-text",
        space="clip-vit-b-32",
        network=backbone.VIT_B_32_TEXT,
        checkpoint=backbone.VIT_B_32_CHECKPOINT,
        parameters=63_428_096,
        multiply_adds=2_980_000_000,
        max_batch=32,
    ),
    Tower(
        name="clip-vit-l-14",
        space="clip-vit-l-14",
        network=backbone.VIT_L_14_IMAGE,
        checkpoint=backbone.VIT_L_14_CHECKPOINT,
        parameters=303_966_208,
        multiply_adds=81_000_000_000,
        max_batch=4,
    ),
    Tower(
        name="clip-vit-l-14-text",
        space="clip-vit-l-14",
        network=backbone.VIT_L_14_TEXT,
        checkpoint=backbone.VIT_L_14_CHECKPOINT,
        parameters=123_650_304,
        multiply_adds=6_650_000_000,
        max_batch=32,
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
    files = (tower.checkpoint, *graph_artifacts(tower.network, tower.checkpoint.name))
    kind = "texts" if tower.reads_text else "pictures"
    card = ModelCard(
        name=tower.name,
        capabilities=frozenset({TEXT_EMBEDDING if tower.reads_text else IMAGE_EMBEDDING}),
        description=f"Vectors of {tower.dimensions} numbers for {kind}, comparable within {tower.space}.",
        licence="MIT",
        homepage="https://github.com/openai/CLIP",
        preprocessing="clip-text-77" if tower.reads_text else "clip-224-bicubic-middle",
        parameters=tower.parameters,
        multiply_adds=tower.multiply_adds,
        artifacts=(*files, TOKENIZER) if tower.reads_text else files,
        space=tower.space,
        similarity_scale=SIMILARITY_SCALE,
        max_batch=tower.max_batch,
    )
    return ModelDefinition(card, _load_text if tower.reads_text else _load_image)


MODELS = tuple(_definition(tower) for tower in TOWERS)
