from __future__ import annotations

from pathlib import Path

import pytest

from sightline.errors import InvalidRequest, UrlRefused
from sightline.jobs.collections.opening import source_of
from sightline.jobs.collections.plans import Plan
from sightline.jobs.collections.sources.folders import Folders
from sightline.jobs.collections.sources.parquet import ParquetFile
from sightline.jobs.collections.sources.service import CollectionService
from sightline.settings import Settings


@pytest.mark.parametrize("address", ["http://example.org", "HTTPS://example.org/x/collections.json"])
async def test_an_address_is_a_service(settings: Settings, address: str) -> None:
    async with source_of(address, settings, Plan()) as source:
        assert isinstance(source, CollectionService)


async def test_a_folder_is_pictures_and_a_file_is_parquet(settings: Settings, tmp_path: Path) -> None:
    async with source_of(str(tmp_path), settings, Plan(), name="cats") as source:
        assert isinstance(source, Folders)
        assert source.name == "cats"
    file = tmp_path / "x.parquet"
    file.write_bytes(b"")
    async with source_of(str(file), settings, Plan(), fingerprints={"a": "b"}) as source:
        assert isinstance(source, ParquetFile)
        assert source.fingerprints == {"a": "b"}


@pytest.mark.parametrize(
    ("written", "error"),
    [
        ("nowhere", InvalidRequest),
        ("no\0where", InvalidRequest),
        ("ftp://x.org", InvalidRequest),
        ("http://", UrlRefused),
    ],
)
async def test_anything_else_is_none(settings: Settings, written: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        async with source_of(written, settings, Plan()):
            pass
