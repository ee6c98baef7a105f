"""The publications servers on loopback. Tests import their parts from ``koopserver``, beside this file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))

import smallclip
from koopserver import KoopServer
from workbench import Bench

from sightline.jobs.koop.store.state import State


@pytest.fixture(scope="session")
def seeing_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a small CLIP that tells the servers' maps, aerial views and other pictures apart.

    Its weights count as random: allow those, and compute in f32.
    """
    root = tmp_path_factory.mktemp("seeing")
    smallclip.install(root, tmp_path_factory.mktemp("towers"))
    return root


@pytest.fixture
def koop_server() -> Iterator[Callable[..., KoopServer]]:
    """``koop_server(seed=1, decisions_per_day=3, rate=None, ...)`` starts servers; they end with the test."""
    with ExitStack() as stack:

        def start(*arguments: Any, **options: Any) -> KoopServer:
            return stack.enter_context(KoopServer(*arguments, **options))

        yield start


@pytest.fixture
def koop(koop_server: Callable[..., KoopServer]) -> KoopServer:
    """Three decisions on every day, no limits, no faults until they are programmed."""
    return koop_server()


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Bench]:
    with State(tmp_path / "koop.sqlite") as state:
        yield Bench(tmp_path, state)
