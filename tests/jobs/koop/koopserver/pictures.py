"""Pictures from a seed: a street map, an aerial photograph, a road sign, a logo, and hostile ones."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

KINDS = ("map", "aerial", "sign", "logo")


def picture(kind: str, seed: int, file_format: str = "png", size: tuple[int, int] = (160, 110)) -> bytes:
    """A picture of one of ``KINDS`` as PNG or JPEG; equal seeds give equal bytes."""
    generator = np.random.default_rng(seed)
    pixels = {"map": _map, "aerial": _aerial, "sign": _sign, "logo": _logo}[kind](generator, *size)
    buffer = io.BytesIO()
    if file_format == "png":
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    else:
        Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _map(generator: np.random.Generator, width: int, height: int) -> np.ndarray:
    pixels = np.full((height, width, 3), (242, 239, 233), np.uint8)
    for _ in range(6):
        top, left = int(generator.integers(height)), int(generator.integers(width))
        pixels[top : top + height // 5, left : left + width // 6] = generator.integers(170, 230, 3)
    for _ in range(4):
        row, column = int(generator.integers(height)), int(generator.integers(width))
        pixels[row : row + 4] = (255, 255, 255)
        pixels[:, column : column + 4] = (250, 220, 130)
    row = int(generator.integers(height))
    pixels[row : row + 3, width // 4 : width // 2] = (220, 20, 20)
    return pixels


def _aerial(generator: np.random.Generator, width: int, height: int) -> np.ndarray:
    coarse = generator.integers(40, 140, (height // 10 + 1, width // 10 + 1, 1))
    ground = np.kron(coarse, np.ones((10, 10, 1)))[:height, :width]
    grain = generator.integers(-20, 20, (height, width, 3))
    return np.clip(ground * (0.8, 1.0, 0.6) + grain, 0, 255).astype(np.uint8)


def _sign(generator: np.random.Generator, width: int, height: int) -> np.ndarray:
    pixels = np.full((height, width, 3), 255, np.uint8)
    rows, columns = np.mgrid[:height, :width]
    away = np.hypot(rows - height / 2, columns - width / 2)
    radius = min(width, height) * 0.45
    pixels[away < radius] = (200, int(generator.integers(40)), int(generator.integers(40)))
    pixels[away < radius * 0.7] = 255
    return pixels


def _logo(generator: np.random.Generator, width: int, height: int) -> np.ndarray:
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[height // 4 : -height // 4, width // 6 : -width // 6] = generator.integers(0, 255, 3)
    return pixels


def huge_header(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a few bytes that says it is enormous, and whose data are only zeros begun."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pieces = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(b"\0" * 1000)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
