"""BLIP (Salesforce 2022): a picture as one English sentence.

A picture transformer computes what a text decoder wants to know of the picture, once; the decoder then writes
token by token, all beams of all pictures of a batch in one step. Constants are those of the published
configurations (huggingface.co/Salesforce/blip-image-captioning-base and -large).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sightline.capabilities.caption import CAPTION
from sightline.errors import ModelBroken
from sightline.models import GraphLoader, GraphOptions, ModelCard, ModelDefinition
from sightline.models.blip.captioner import BEGIN_TOKEN, CARRIED, END_TOKEN, Captioner
from sightline.models.embedders import Square
from sightline.networks import graph_artifacts
from sightline.networks.blip import Blip
from sightline.networks.transformer import Pixels
from sightline.weights.sources import Artifact, HubFile, Recipe

# All of the picture, squeezed; mean and standard deviation are CLIP's.
SQUARE = Square(
    short_side=384,
    size=384,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    squeezed=True,
)


@dataclass(frozen=True, kw_only=True)
class Captioning:
    """One of the published sizes: its network, its checkpoint, and the facts of its card."""

    name: str
    network: Blip
    checkpoint: HubFile
    sha256: str
    size_bytes: int
    parameters: int
    multiply_adds: int


# Multiply-adds of a caption of 20 tokens with four beams: vision, keys and values of the picture, and 0.123 G
# for each token of each beam.
_PIXELS = Pixels(SQUARE.size, 16, SQUARE.mean, SQUARE.std)
_BASE_REPO, _BASE_REVISION = (
    "Salesforce/blip-image-captioning-base",
    "82a37760796d32b1411fe092ab5d4e227313294b",
)

SIZES = (
    Captioning(
        name="blip-base",
        network=Blip(pixels=_PIXELS, vision_width=768, vision_layers=12, vision_heads=12),
        checkpoint=HubFile(_BASE_REPO, "pytorch_model.bin", _BASE_REVISION),
        sha256="d6638651a5526cc2ede56f2b5104d6851b0755816d220e5e046870430180c767",
        size_bytes=989_820_849,
        parameters=223_971_644,
        multiply_adds=73_500_000_000,
    ),
    Captioning(
        name="blip-large",
        network=Blip(pixels=_PIXELS, vision_width=1024, vision_layers=24, vision_heads=16),
        checkpoint=HubFile(
            "Salesforce/blip-image-captioning-large",
            "model.safetensors",
            "353689b859fcf0523410b1806dace5fb46ecdf41",
        ),
        sha256="ebc867586b8318647dd7b75ef8e52f93f89b98ac7dcbd04d10219d33b9a68c6f",
        size_bytes=1_879_014_680,
        parameters=446_290_492,
        multiply_adds=211_700_000_000,
    ),
)


def _make_up_tokenizer(output: Path, recipe: Recipe) -> None:
    from sightline.models.blip.vocabulary import stand_in

    stand_in().save(str(output), pretty=False)


# BERT's uncased vocabulary, in which both write.
TOKENIZER = Artifact(
    name="tokenizer.json",
    sources=(HubFile(_BASE_REPO, "tokenizer.json", _BASE_REVISION),),
    sha256="d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
    size_bytes=711_396,
    made_up=_make_up_tokenizer,
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
    vision, decoder = (
        graphs(files[name], GraphOptions(carried=CARRIED)) for name in ("vision.onnx", "decoder.onnx")
    )
    return Captioner(SQUARE, vision, decoder, tokenizer)


def _definition(size: Captioning) -> ModelDefinition:
    checkpoint = Artifact(
        size.checkpoint.path,
        (size.checkpoint,),
        sha256=size.sha256,
        size_bytes=size.size_bytes,
        intermediate=True,
    )
    card = ModelCard(
        name=size.name,
        capabilities=frozenset({CAPTION}),
        description="One English sentence on what a picture shows.",
        licence="BSD-3-Clause",
        homepage=f"https://huggingface.co/{size.checkpoint.repo}",
        preprocessing="blip-384-bicubic-squeezed",
        parameters=size.parameters,
        multiply_adds=size.multiply_adds,
        artifacts=(checkpoint, *graph_artifacts(size.network, checkpoint.name), TOKENIZER),
        max_batch=8,
    )
    return ModelDefinition(card, _load)


MODELS = tuple(_definition(size) for size in SIZES)
