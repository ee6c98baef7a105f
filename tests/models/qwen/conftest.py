"""A vision-language model with made-up weights in Qwen3.5's structure (``tests/parity/make_vlm.py``)."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from sightline.models import qwen
from sightline.runtime.generation import ProcessGenerator
from sightline.runtime.resident import wanted
from sightline.settings import Settings
from sightline.types import Provenance
from sightline.weights.store import Store

NAME = "qwen3.5-2b"


@pytest.fixture(scope="session")
def vlm_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its files. Its path has a space."""
    folder = tmp_path_factory.mktemp("made up")
    with tarfile.open(Path(__file__).with_name("tiny.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def vlm_store(vlm_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the default model has these files."""
    root = tmp_path_factory.mktemp("vlm store")
    install(vlm_files, root)
    return root


def install(files: Path, root: Path) -> None:
    import shutil

    copy = root / "given"
    shutil.copytree(files, copy)
    (definition,) = (each for each in qwen.MODELS if each.name == NAME)
    Store(root, allow_random=True).adopt(wanted(definition), copy, Provenance.RANDOM, "seed 0")


@pytest.fixture(scope="session")
def vlm_settings(vlm_store: Path) -> Settings:
    return Settings(
        models_dir=vlm_store, offline=True, allow_random_weights=True, lame_duck_s=0, rate_limit_requests=0
    )


@pytest.fixture(scope="session")
def vlm_url(
    vlm_settings: Settings, server_at: Callable[[Settings], AbstractContextManager[str]]
) -> Iterator[str]:
    with server_at(vlm_settings) as url:
        yield url


@pytest.fixture
def vlm(vlm_url: str) -> Iterator[httpx2.Client]:
    """A client of a server without a key and without a model server."""
    with httpx2.Client(base_url=vlm_url, timeout=60, trust_env=False) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def generator(vlm_files: Path) -> AsyncIterator[ProcessGenerator]:
    made = ProcessGenerator(NAME, vlm_files, qwen.LIMITS, 2)
    try:
        yield made
    finally:
        await made.close()
