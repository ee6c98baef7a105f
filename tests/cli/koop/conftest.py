"""The loopback publications servers, and a small CLIP that tells their pictures apart, for the commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "jobs" / "koop"))

import smallclip
from koopserver import KoopServer


@pytest.fixture(scope="session")
def seeing_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("seeing")
    smallclip.install(root, tmp_path_factory.mktemp("towers"))
    return root


@pytest.fixture
def koop(
    environment: dict[str, str], seeing_models: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KoopServer]:
    """Three decisions on every day; the settings lead to it, at a rate that no test waits for."""
    with KoopServer() as server:
        settings = {
            "MODELS_DIR": str(seeing_models),
            "ALLOW_RANDOM_WEIGHTS": "1",
            "OFFLINE": "1",
            "PRECISION": "f32",
            "KOOP_SEARCH_URL": server.search_url,
            "KOOP_READER_URL": server.reader_url,
            "KOOP_ATTACHMENTS_URL": server.attachments_folder,
            "KOOP_CONTACT": "https://example.org/tests",
            "KOOP_RATE_PER_S": "500",
            "KOOP_MAX_RATE_PER_S": "500",
            "KOOP_BURST": "1000",
        }
        for name, value in settings.items():
            monkeypatch.setenv(f"SIGHTLINE_{name}", value)
            environment[f"SIGHTLINE_{name}"] = value
        yield server
