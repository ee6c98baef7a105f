"""Exporters: original weights in, ONNX files out. One file per family; the only user of torch.

They run in an environment of their own, thrown away afterwards (``sightline.weights.exporting`` makes it):

    python -m sightline.export FAMILY --model NAME --out FOLDER
        [--weights canonical|random] [--seed N] [--size full|tiny] [--from PATH] [--trust SHA256]

To add a family, add a module here with ``export(order: Order) -> None`` and its locked requirements as
``requirements/FAMILY.txt``. It writes the artifacts of the model's card into ``order.output`` under their
names, compares each with the original model before it is done, and raises a
:class:`sightline.errors.SightlineError` if anything is wrong. Of this package it may import errors, types,
sources and model cards; nothing imports it. A family that can export files of the user's says so with
``TAKES_FILES = True``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to export.

    ``random`` weights are drawn with ``seed`` and need no network. ``tiny`` keeps the structure, the sizes of
    inputs and outputs, and little else; canonical weights have one size.

    ``source`` is a file or folder of the user's with the published weights; without it they are fetched.
    ``trusted_sha256`` (lowercase hex) is the digest of a weights file that the user vouches for: needed where
    reading the file runs code out of it.
    """

    model: str
    weights: Literal["canonical", "random"]
    seed: int
    size: Literal["full", "tiny"]
    output: Path
    source: Path | None = None
    trusted_sha256: str | None = None
