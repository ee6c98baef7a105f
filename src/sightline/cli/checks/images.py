"""Image formats, judged by opening one small red picture of each whose decoder may be missing."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sightline.cli.checks import Finding, State

if TYPE_CHECKING:
    from sightline.imaging import ImageLimits
    from sightline.settings import Settings

# 16 × 16 pixels of (200, 40, 40).
_SAMPLES = {
    "JPEG": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L"
        "2u71////m8H////6/+b9//j/2wBDASstLTw1PHZBQXb4pYyl+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4"
        "+Pj4+Pj4+Pj4+Pj4+Pj/wAARCAAQABADASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAT/xAAUEAEAAAAAAAAAAAAA"
        "AAAAAAAA/8QAFQEBAQAAAAAAAAAAAAAAAAAAAwT/xAAUEQEAAAAAAAAAAAAAAAAAAAAA/9oADAMBAAIRAxEAPwCcAS9//9k="
    ),
    "WebP": ("UklGRjIAAABXRUJQVlA4ICYAAABwAQCdASoQABAAB0CWJaACdAFAAAD+4LljCaSdH6P+7/1JPwAAAA=="),
    "AVIF": (
        "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUIAAADrbWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAcGljdAAAAAAAAAAA"
        "AAAAAAAAAAAOcGl0bQAAAAAAAQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAETAAAAJwAAAChpaW5mAAAAAAABAAAAGmluZmUC"
        "AAAAAAEAAGF2MDFDb2xvcgAAAABqaXBycAAAAEtpcGNvAAAAFGlzcGUAAAAAAAAAEAAAABAAAAAQcGl4aQAAAAADCAgIAAAA"
        "DGF2MUOBAAwAAAAAE2NvbHJuY2x4AAEADQAGgAAAABdpcG1hAAAAAAAAAAEAAQQBAoMEAAAAL21kYXQSAAoJGAz/2iAhoNCA"
        "MhgcR4eF3dNNNMLAAAB1fVm9zKk5WpMsniQ="
    ),
    "HEIC": (
        "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAA"
        "AAAAACJpbG9jAAAAAERAAAEAAQAAAAABoAABAAAAAAAAACoAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAA"
        "AA5waXRtAAAAAAABAAAA/GlwcnAAAADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNw"
        "AAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPB"
        "iQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFwAAAAEAAAAAEAAAAQAAAAAf///9AAAAAC"
        "////0AAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAAMm1kYXQAAAAmKAGvGSFeQkDvXaW/"
        "/2+Y/0vF/hNbfKZKppcE14iZCwOBgI2RnTg="
    ),
}
_PROBLEM = "install them again: python -m pip install --force-reinstall pillow pillow-heif"


def check(settings: Settings) -> Iterator[Finding]:
    from sightline.imaging import ImageLimits

    limits = ImageLimits.from_settings(settings)
    off = {"HEIC" if name == "heif" else name.upper() for name in limits.refused_formats}
    tried = {name: sample for name, sample in _SAMPLES.items() if name not in off}
    opened = [name for name, sample in tried.items() if _opens(base64.b64decode(sample), limits)]
    failed = [name for name in tried if name not in opened]
    if opened:
        yield Finding(
            "images",
            "formats",
            State.OK,
            f"{', '.join(opened)} open; so do PNG, GIF{' and BMP' if 'TIFF' in off else ', BMP and TIFF'}",
        )
    if failed:
        # Phones and cameras write JPEG; a machine that cannot read it is of no use.
        state = State.BROKEN if "JPEG" in failed else State.NOTICE
        yield Finding("images", "formats", state, f"{', '.join(failed)} do not open", _PROBLEM)


def _opens(data: bytes, limits: ImageLimits) -> bool:
    from sightline.imaging import open_picture

    try:
        pixels = open_picture(data, limits).rgb()
    except Exception:  # a missing or crashing codec is what is looked for
        return False
    return pixels.shape == (16, 16, 3) and bool(abs(pixels.mean(axis=(0, 1)) - (200, 40, 40)).max() < 16)
