"""scikit-learn, imported late: only training needs it."""

from __future__ import annotations

import importlib
from typing import Any

from sightline.errors import ConfigurationError


def scikit(module: str) -> Any:
    """``sklearn.<module>``.

    Raises:
        ConfigurationError: it is not installed.
    """
    return _imported(f"sklearn.{module}")


def joblib() -> Any:
    """joblib, which comes with scikit-learn. Raises ConfigurationError like :func:`scikit`."""
    return _imported("joblib")


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            "training needs scikit-learn, which is not installed: add the extra, as in "
            "`pip install 'sightline[train]'`"
        ) from error
