"""Models of one space that are made of one download."""

from __future__ import annotations

import pytest

from sightline.models import catalogue
from sightline.runtime.resident import companions, wanted

CATALOGUE = catalogue()


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("clip-vit-b-32", ["clip-vit-b-32-text"]),
        ("clip-vit-b-32-text", ["clip-vit-b-32"]),
        ("speciesnet-v4.0.3a", ["speciesnet-v4.0.3a-ensemble"]),
        ("geoclip", []),  # shares CLIP L/14's file, which nobody needs for places
        ("dinov2-base", []),  # the other size is another space
        ("mtcnn", []),
    ],
)
def test_they_share_a_space_and_a_file(name: str, others: list[str]) -> None:
    found = companions(wanted(CATALOGUE[name]), CATALOGUE)
    assert [each.model for each in found] == others
