"""When and where a photo was taken, from EXIF in every format that carries it."""

from __future__ import annotations

import io
from datetime import datetime
from typing import Any

import pillow_heif
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from sightline.imaging import read_capture, read_position

pillow_heif.register_heif_opener()
FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF")


def photo(image_format: str, gps: dict[int, Any] | None = None, **tags: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0110] = "Pixel 9"
    exif.get_ifd(0x8769)[0x9003] = tags.get("taken", "2024:02:29 13:14:15")
    if gps is not None:
        exif.get_ifd(0x8825).update(gps)
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(file, image_format, exif=exif.tobytes())
    return file.getvalue()


def degrees(*parts: float) -> tuple[IFDRational, ...]:
    return tuple(IFDRational(round(part * 1000), 1000) for part in parts)


UTRECHT = {1: "N", 2: degrees(52, 5, 27.6), 3: "E", 4: degrees(5, 7, 19.2)}


@pytest.mark.parametrize("image_format", FORMATS)
def test_time_camera_and_position(image_format: str) -> None:
    data = photo(image_format, UTRECHT)
    capture = read_capture(data)
    assert (capture.taken, capture.camera) == (datetime(2024, 2, 29, 13, 14, 15), "Pixel 9")
    position = read_position(data)
    assert position is not None
    assert (position.latitude, position.longitude) == pytest.approx((52.091, 5.122), abs=1e-9)


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_photo_without_metadata(image_format: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, image_format)
    assert read_capture(file.getvalue()).taken is None
    assert read_position(file.getvalue()) is None


def test_south_and_west_are_negative() -> None:
    position = read_position(photo("JPEG", {1: "S", 2: degrees(33, 30, 0), 3: "w", 4: degrees(70, 0, 36)}))
    assert position is not None
    assert (position.latitude, position.longitude) == pytest.approx((-33.5, -70.01))


@pytest.mark.parametrize(
    "gps",
    [
        {},
        {1: "N", 2: degrees(52, 5, 0)},
        {**UTRECHT, 2: degrees(91, 0, 0)},
        {**UTRECHT, 4: degrees(181, 0, 0)},
        {**UTRECHT, 1: "X"},
        {**UTRECHT, 2: (IFDRational(1, 0), IFDRational(0, 0), IFDRational(1, 1))},
        {**UTRECHT, 2: degrees(52, 5)},
        {1: "N", 2: degrees(0, 0, 0), 3: "E", 4: degrees(0, 0, 0)},
    ],
)
def test_a_position_that_cannot_be_one(gps: dict[int, Any]) -> None:
    assert read_position(photo("JPEG", gps)) is None


@pytest.mark.parametrize("image_format", FORMATS)
def test_damaged_metadata_is_an_empty_answer(image_format: str) -> None:
    data = photo(image_format, UTRECHT)
    for place in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[place] ^= 0xFF
        read_capture(bytes(damaged))
        read_position(bytes(damaged))
    for length in range(0, len(data), 11):
        read_capture(data[:length])
        read_position(data[:length])
