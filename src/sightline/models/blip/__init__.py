"""BLIP (Salesforce 2022): a picture as one English sentence.

A picture transformer computes what a text decoder wants to know of the picture, once; the decoder then writes
token by token, all beams of all pictures of a batch in one step. Constants are those of the published
configurations (huggingface.co/Salesforce/blip-image-captioning-base and -large).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sightline.errors import ModelBroken
from sightline.models import GraphLoader, ModelCard, ModelDefinition
from sightline.models.blip.captioner import BEGIN_TOKEN, CARRIED, END_TOKEN, Captioner
from sightline.models.embedders import Square
from sightline.types import Capability
from sightline.weights.sources import Artifact, Exported, HubFile

# All of the picture, squeezed; mean and standard deviation are CLIP's.
SQUARE = Square(
    short_side=384,
    size=384,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    squeezed=True,
)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One of the published sizes: where its weights lie and what is known of it."""

    name: str
    repo: str
    revision: str
    parameters: int
    multiply_adds: int


# Multiply-adds of a caption of 20 tokens with four beams: vision, keys and values of the picture, and 0.123 G
# for each token of each beam.
CHECKPOINTS = (
    Checkpoint(
        name="blip-base",
        repo="Salesforce/blip-image-captioning-base",
        revision="82a37760796d32b1411fe092ab5d4e227313294b",
        parameters=223_971_644,
        multiply_adds=73_500_000_000,
    ),
    Checkpoint(
        name="blip-large",
        repo="Salesforce/blip-image-captioning-large",
        revision="353689b859fcf0523410b1806dace5fb46ecdf41",
        parameters=446_290_492,
        multiply_adds=211_700_000_000,
    ),
)

# BERT's uncased vocabulary, in which both write.
TOKENIZER = Artifact(
    name="tokenizer.json",
    sources=(
        HubFile(CHECKPOINTS[0].repo, "tokenizer.json", CHECKPOINTS[0].revision),
        Exported("blip"),
    ),
    sha256="d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
    size_bytes=711_396,
)


def _load(files: Mapping[str, Path], graphs: GraphLoader) -> Captioner:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(files[TOKENIZER.name]))
    except Exception as error:  # the library raises bare Exception
        raise ModelBroken(f"{TOKENIZER.name} does not load: {type(error).__name__}") from error
    if tokenizer.get_vocab_size() != BEGIN_TOKEN or tokenizer.token_to_id("[SEP]") != END_TOKEN:
        raise ModelBroken(
            f"{TOKENIZER.name} is not BLIP's: its end token is not {END_TOKEN} of {BEGIN_TOKEN}"
        )
    vision, decoder = (graphs(files[name], carried=CARRIED) for name in ("vision.onnx", "decoder.onnx"))
    return Captioner(SQUARE, vision, decoder, tokenizer)


def _definition(checkpoint: Checkpoint) -> ModelDefinition:
    graphs = (Artifact(name=name, sources=(Exported("blip"),)) for name in ("vision.onnx", "decoder.onnx"))
    card = ModelCard(
        name=checkpoint.name,
        capabilities=frozenset({Capability.CAPTION}),
        description="One English sentence on what a picture shows.",
        licence="BSD-3-Clause",
        homepage=f"https://huggingface.co/{checkpoint.repo}",
        preprocessing="blip-384-bicubic-squeezed",
        parameters=checkpoint.parameters,
        multiply_adds=checkpoint.multiply_adds,
        artifacts=(*graphs, TOKENIZER),
        max_batch=8,
        exporter="blip",
    )
    return ModelDefinition(card, _load)


MODELS = tuple(_definition(checkpoint) for checkpoint in CHECKPOINTS)
