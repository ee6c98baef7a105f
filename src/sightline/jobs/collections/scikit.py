"""scikit-learn, imported late: only training needs it."""

from __future__ import annotations

from typing import Any

from sightline.jobs.collections.extras import required


def scikit(module: str) -> Any:
    """``sklearn.<module>``.

    Raises:
        ExtraMissing: it is not installed.
    """
    return required(f"sklearn.{module}", "scikit-learn")


def joblib() -> Any:
    """joblib, which comes with scikit-learn. Raises ExtraMissing like :func:`scikit`."""
    return required("joblib", "scikit-learn")
