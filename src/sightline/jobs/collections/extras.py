"""Libraries of the extra ``train``, imported when they are needed: serving needs none of them."""

from __future__ import annotations

import importlib
from typing import Any

from sightline.errors import ExtraMissing
from sightline.extras import how_to_add


def required(module: str, library: str) -> Any:
    """The imported module; ``library`` is what people call it.

    Raises:
        ExtraMissing: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ExtraMissing(f"this needs {library}, which is not installed; {how_to_add('train')}") from error
