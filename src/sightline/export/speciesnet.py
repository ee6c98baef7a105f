"""SpeciesNet: the published classifier to ``classifier.onnx``, and the lists and rules of a release.

The classifier was published as a pickle of a traced module, which runs code when it is read. There is no way
around that: it is read here alone, in an environment that is thrown away, and only if its sha256 is the one
the user trusts.
"""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from torch import Tensor, nn
from torchvision.models import efficientnet_v2_m
from torchvision.models.efficientnet import EfficientNet, FusedMBConvConfig, MBConvConfig

from sightline.errors import ExportFailed, UnknownModel
from sightline.export import Order, clouds, downloads, made_up_taxonomy, onnx_file
from sightline.export.speciesnet_release import PICKLE, gather
from sightline.models import speciesnet, speciesnet_ensemble
from sightline.models.speciesnet import CLASSIFIER, LABELS
from sightline.models.speciesnet.classifier import SIDE, read_labels
from sightline.models.speciesnet_ensemble import GEOFENCE_FILE, TAXONOMY_FILE

TAKES_FILES: Final = True

_log = logging.getLogger(__name__)

# As torchvision builds EfficientNetV2.
_EPSILON: Final = 1e-3

# How many crops the file is compared on: it must not matter.
_CHECKED_COUNTS: Final = (2, 3)


class Classifier(nn.Module):  # type: ignore[misc]
    """uint8 ``[N, 480, 480, 3]`` → logits f32 ``[N, labels]``.

    ``network`` reads the same as f32 from 0 to 1.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network(pixels.float() / 255)


class ChannelsLast(nn.Module):  # type: ignore[misc]
    """A network that reads ``[N, 3, H, W]``, given ``[N, H, W, 3]``: the published one was made like this."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network(pixels.permute(0, 3, 1, 2))


def export(order: Order) -> None:
    """Write the classifier and its labels, or the taxonomy and the geofence, of one release.

    Raises:
        UnknownModel: the family has no such model.
        SourceUnreachable, SourceMissing, DigestMismatch: the release cannot be had.
        ExportFailed: the classifier is not trusted or is none, or the file does not compute what it does.
    """
    classifiers = {each.name: each.card.space or "" for each in speciesnet.MODELS}
    ensembles = {each.name: each.card.space or "" for each in speciesnet_ensemble.MODELS}
    if order.model in classifiers:
        _export_classifier(order, classifiers[order.model])
    elif order.model in ensembles:
        _export_rules(order, ensembles[order.model])
    else:
        known = ", ".join([*classifiers, *ensembles])
        raise UnknownModel(f"the speciesnet exporter has no {order.model!r}; it has {known}")


def _export_rules(order: Order, version: str) -> None:
    if order.weights == "random":
        (order.output / TAXONOMY_FILE).write_text(_lines(made_up_taxonomy.taxonomy()), encoding="utf-8")
        (order.output / GEOFENCE_FILE).write_text(made_up_taxonomy.geofence(), encoding="utf-8")
        return
    with TemporaryDirectory(dir=order.output) as scratch:
        files = gather(version, (TAXONOMY_FILE, GEOFENCE_FILE), order.source, Path(scratch))
        for name, path in files.items():
            shutil.copyfile(path, order.output / name)


def _export_classifier(order: Order, version: str) -> None:
    metadata = {"model": order.model, "weights": order.weights}
    if order.weights == "random":
        metadata |= {"seed": str(order.seed), "size": order.size}
        (order.output / LABELS).write_text(_lines(made_up_taxonomy.labels()), encoding="utf-8")
        write(random_network(order), order.output, metadata, onnx_file.write)
        return
    with TemporaryDirectory(dir=order.output) as scratch:
        files = gather(version, (PICKLE, LABELS), order.source, Path(scratch))
        shutil.copyfile(files[LABELS], order.output / LABELS)
        network = read_network(files[PICKLE], order.trusted_sha256)
        write(network, order.output, metadata, onnx_file.write_traced)


def write(network: nn.Module, folder: Path, metadata: Mapping[str, str], writer: Callable[..., None]) -> None:
    """``classifier.onnx`` beside the labels that are in ``folder`` already.

    Raises:
        ExportFailed: the network's answers are not one number for each label, or the file's are others.
    """
    count = len(read_labels(folder / LABELS))
    model = Classifier(network).eval()
    path = folder / CLASSIFIER
    with torch.no_grad():
        for crops in _CHECKED_COUNTS:
            pixels = (clouds.draw(crops, SIDE) * 255).byte().permute(0, 2, 3, 1).contiguous()
            logits = _answer(model, pixels)
            if tuple(logits.shape) != (crops, count):
                raise ExportFailed(
                    f"the classifier answers {list(logits.shape)} to {crops} crops; {count} labels are listed"
                )
            if crops == _CHECKED_COUNTS[0]:
                writer(model, {"pixels": pixels}, {"pixels": {0: "batch"}}, "logits", path, metadata)
            onnx_file.compare(path, {"pixels": pixels}, logits)


def _answer(model: nn.Module, pixels: Tensor) -> Tensor:
    try:
        logits = model(pixels)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ExportFailed(f"the classifier does not read crops of {SIDE} pixels: {error}") from error
    if not isinstance(logits, Tensor):
        raise ExportFailed("the classifier does not answer with logits")
    return logits


def read_network(path: Path, trusted_sha256: str | None) -> Any:
    """The published module. Reading it runs code out of the file.

    Raises:
        ExportFailed: no digest is trusted, or the file holds no module.
        DigestMismatch: the file has another digest than the trusted one.
    """
    data = path.read_bytes()
    if trusted_sha256 is None:
        raise ExportFailed(
            f"{path.name} is a pickle: reading it runs code out of it. If you trust the file with this "
            f"sha256, repeat the command with --trust {hashlib.sha256(data).hexdigest()}"
        )
    # The very bytes that were judged are read, whatever happens to the file.
    downloads.require_digest(data, trusted_sha256, path.name)
    _log.warning("%s has the trusted sha256; reading it runs code out of it, in this environment", path.name)
    try:
        network = torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
    except Exception as error:  # whatever the code in it raises
        raise ExportFailed(f"{path.name} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ExportFailed(f"{path.name} holds no module")
    return network.eval()


def random_network(order: Order) -> nn.Module:
    """The architecture of the published classifier behind the same interface, f32, weights drawn.

    Its answers differ from crop to crop: the mean of what it sees of clouds is taken out of them, and their
    spread is such that the likeliest label has a few to a hundred percent.
    """
    torch.manual_seed(order.seed)
    count = len(made_up_taxonomy.labels())
    network = _tiny(count) if order.size == "tiny" else efficientnet_v2_m(weights=None, num_classes=count)
    sky = clouds.draw(16, 128)
    clouds.settle(network, sky, network)
    last = network.classifier[-1]
    with torch.no_grad():
        features = network.avgpool(network.features(sky)).flatten(1)
        nn.init.normal_(last.weight)
        answers = features @ last.weight.T
        # Of 2,498 logits with a spread of 4 the likeliest has about a third of all probability.
        last.weight *= 4 / answers.std(0).mean()
        last.bias.copy_(-(features @ last.weight.T).mean(0))
    return ChannelsLast(network).eval()


def _tiny(labels: int) -> Any:
    """One block of each kind, with 8 channels or little more."""
    blocks = [FusedMBConvConfig(1, 3, 2, 8, 8, 1), MBConvConfig(4, 3, 2, 8, 16, 1)]
    normalisation = partial(nn.BatchNorm2d, eps=_EPSILON)
    return EfficientNet(blocks, dropout=0, num_classes=labels, norm_layer=normalisation, last_channel=32)


def _lines(labels: tuple[str, ...]) -> str:
    return "".join(f"{label}\n" for label in labels)
