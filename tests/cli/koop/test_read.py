"""``sightline koop read``, with the released networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from koopserver import KoopServer
from PIL import Image, ImageDraw, ImageFont

from sightline import models
from sightline.runtime.residency import wanted
from sightline.weights.store import Store

DAYS = ("--from", "2024-01-13", "--to", "2024-01-14")


@pytest.fixture
def with_reader(koop: KoopServer, seeing_models: Path) -> KoopServer:
    Store(seeing_models).pull(wanted(models.catalogue()["pp-ocrv6-small"]))
    return koop


def manifest(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]


def a_map(path: Path, text: str) -> None:
    """Put another picture in the place of a kept one."""
    image = Image.new("RGB", (480, 160), "white")
    ImageDraw.Draw(image).text((20, 50), text, fill="black", font=ImageFont.load_default(40))
    image.save(path, "PNG")


def test_the_text_of_kept_maps_is_in_manifest_and_report(
    sightline, with_reader: KoopServer, tmp_path: Path
) -> None:
    sightline("koop", "download", *DAYS)
    folder = tmp_path / "koop"
    before = manifest(folder)
    kept = sorted({row["file"] for row in before if row["file"]})
    assert kept
    assert all(row["text"] is None and row["text_model"] is None for row in before)
    a_map(folder / kept[0], "KERKSTRAAT 12")
    if len(kept) > 1:
        (folder / kept[1]).write_bytes(b"torn")

    done = sightline("koop", "read")
    assert done.exit_code == (1 if len(kept) > 1 else 0), done.stderr
    rows = {row["file"]: row for row in manifest(folder) if row["file"]}
    found = rows[kept[0]]
    assert found["text"] == "KERKSTRAAT 12"
    (line,) = found["text_lines"]
    assert line["text"] == "KERKSTRAAT 12"
    assert 0.5 < line["score"] <= 1
    assert found["text_model"]
    if len(kept) > 1:
        assert rows[kept[1]]["text_lines"] == []
    # Everything else is as the download wrote it.
    added = ("text", "text_lines", "text_model")
    assert [{k: v for k, v in row.items() if k not in added} for row in manifest(folder)] == [
        {k: v for k, v in row.items() if k not in added} for row in before
    ]

    again = sightline("koop", "read")
    assert again.stdout.startswith("read 0 of 0")
    sightline("koop", "report")
    assert "KERKSTRAAT 12" in (folder / "report" / "2024-01.html").read_text("utf-8")


def test_a_later_download_keeps_the_texts(sightline, with_reader: KoopServer, tmp_path: Path) -> None:
    sightline("koop", "download", *DAYS)
    sightline("koop", "read")
    before = manifest(tmp_path / "koop")
    assert any(row["text_model"] for row in before)
    sightline("koop", "download", "--from", "2024-01-13", "--to", "2024-01-15")
    after = manifest(tmp_path / "koop")
    assert [row for row in after if row["day"] < "2024-01-15"] == before


def test_without_the_model_it_says_what_to_do(
    sightline, koop: KoopServer, environment: dict[str, str]
) -> None:
    sightline("koop", "download", *DAYS)
    done = sightline("koop", "read", "--models-dir", "nowhere", "--offline")
    assert done.exit_code != 0
    assert "sightline models pull" in done.stderr


def test_a_folder_without_a_download_is_refused(sightline) -> None:
    assert sightline("koop", "read", "--out", "nowhere").exit_code == 2
