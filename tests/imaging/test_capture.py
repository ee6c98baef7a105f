"""When and where a photo was taken, from EXIF in every format that carries it."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tracemalloc
import zlib
from datetime import datetime
from typing import Any

import pillow_heif
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from sightline.imaging import Capture, read_capture, read_position

pillow_heif.register_heif_opener()
FORMATS = ("JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF")


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


WITHOUT_DECODERS = """
import sys
from sightline.imaging import Capture, read_capture, read_position
data = sys.stdin.buffer.read()
print(read_capture(data).camera, read_position(data) is not None)
loaded = [name for name in sys.modules if name.split(".")[0] in ("PIL", "pillow_heif")]
assert not loaded, loaded
"""


@pytest.mark.parametrize("image_format", FORMATS)
def test_no_decoder_sees_the_file(image_format: str) -> None:
    """Native code meets untrusted bytes in decode workers only, and this is not one."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DECODERS], input=photo(image_format, UTRECHT), capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b"Pixel 9 True\n"


def test_entries_that_share_one_large_value_cost_no_memory() -> None:
    number, size = 20_000, 300_000
    entries = b"".join(struct.pack("<HHII", 1000 + each, 2, size, 14 + 12 * number) for each in range(number))
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", number) + entries + bytes(4) + b"A" * size
    whole = photo("PNG")
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    tracemalloc.start()
    try:
        assert read_capture(whole[:33] + chunk + whole[33:]).taken is not None  # the last block counts
        assert read_capture(whole[:33] + chunk + whole[-12:]) == Capture()
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


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
