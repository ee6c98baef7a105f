"""A library as people and programs are shown it."""

from __future__ import annotations

from typing import Any

from sightline.libraries import Library


def library_report(library: Library) -> dict[str, Any]:
    """Return name, number of photos, folders, and the models whose vectors are there."""
    return {
        "name": library.name,
        "photos": len(library),
        "unreadable": len(library.failures()),
        "folders": library.roots(),
        "models": [
            {
                "name": model.name,
                "space": model.space,
                "fingerprint": model.fingerprint,
                "dimensions": model.dimensions,
                "provenance": model.provenance,
                "state": model.state.value,
            }
            for model in library.models()
        ],
    }
