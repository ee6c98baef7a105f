"""TIFF, AVIF and HEIC can be switched off; nothing of such a file is read then."""

from __future__ import annotations

import pytest

from sightline.errors import UnsupportedImage
from sightline.imaging import ImageLimits, open_picture
from sightline.settings import Settings


@pytest.mark.parametrize(
    ("name", "setting"), [("tiff", "image_tiff"), ("avif", "image_avif"), ("heif", "image_heic")]
)
def test_a_format_that_is_switched_off_is_refused(name, setting, files):
    limits = ImageLimits.from_settings(Settings(**{setting: False}))
    with pytest.raises(UnsupportedImage, match="switched off"):
        open_picture(files[name], limits)
    with pytest.raises(UnsupportedImage, match="switched off"):
        open_picture(files[name][:32], limits)
    for other in files.keys() - {name}:
        assert open_picture(files[other], limits).width == 160


def test_all_are_on_by_default(files):
    limits = ImageLimits.from_settings(Settings())
    for file in files.values():
        assert open_picture(file, limits).width == 160


def test_digests_of_limits_change_with_a_switch_only():
    plain = ImageLimits(1, 2, 3)
    assert plain.written == (1, 2, 3)
    assert ImageLimits(1, 2, 3, ("tiff",)).written == (1, 2, 3, "tiff")
