"""``python -m sightline.export FAMILY …``: see :mod:`sightline.export`. Fails with one line that says why."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from sightline.errors import ExportFailed, SightlineError
from sightline.export import Order


def main(arguments: Sequence[str]) -> int:
    """Run one exporter. Status 0, or 1 after a line ``error: …`` on standard error."""
    options = _parser().parse_args(arguments)
    order = Order(
        model=options.model,
        weights=options.weights,
        seed=options.seed,
        size=options.size,
        output=options.out,
        source=options.source,
        trusted_sha256=options.trust,
    )
    try:
        _check(order)
        family = _family(options.family)
        if (order.source or order.trusted_sha256) and not getattr(family, "TAKES_FILES", False):
            raise ExportFailed(
                f"the {options.family} exporter fetches its weights itself; it takes no --from or --trust"
            )
        order.output.mkdir(parents=True, exist_ok=True)
        family.export(order)
    except SightlineError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sightline.export", description="Original weights to ONNX."
    )
    parser.add_argument("family", help="exporter, e.g. fasterrcnn")
    parser.add_argument("--model", required=True, help="name on the model's card")
    parser.add_argument("--weights", choices=("canonical", "random"), default="canonical")
    parser.add_argument("--seed", type=int, default=0, help="of random weights")
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--from", dest="source", type=Path, help="file or folder with the published weights")
    parser.add_argument("--trust", help="sha256 of a weights file that may run code when it is read")
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    return parser


def _check(order: Order) -> None:
    if order.weights == "canonical" and order.size == "tiny":
        raise ExportFailed("canonical weights exist in full size only")
    if order.weights == "random" and (order.source or order.trusted_sha256):
        raise ExportFailed("random weights come from nowhere; --from and --trust go with canonical ones")


def _family(name: str) -> ModuleType:
    module = f"{__package__}.{name}"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or importlib.util.find_spec(module) is None:
        raise ExportFailed(f"there is no exporter {name!r}")
    family = importlib.import_module(module)
    if not hasattr(family, "export"):
        raise ExportFailed(f"there is no exporter {name!r}")
    return family


if __name__ == "__main__":
    _log = logging.getLogger("sightline")  # the libraries tell far too much
    _log.addHandler(logging.StreamHandler(sys.stderr))
    _log.setLevel(logging.INFO)
    sys.exit(main(sys.argv[1:]))
