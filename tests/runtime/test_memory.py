"""What limits memory is found in control groups of both versions, and low memory is acted upon."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from sightline.capabilities.embedding import TEXT_EMBEDDING
from sightline.errors import MemoryLow
from sightline.imaging import View, encode_png
from sightline.runtime import memory
from sightline.runtime.engine import Context
from sightline.runtime.memory import MemoryGuard, Usage
from sightline.server.app import create_app
from sightline.settings import Settings

GIB = 1024**3


def soon() -> Context:
    return Context.lasting(10)


@pytest.fixture
def files(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    def write(contents: dict[str, str]) -> Path:
        for name, text in contents.items():
            path = tmp_path / "root" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        return tmp_path / "root"

    return write


@pytest.fixture(autouse=True)
def _large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_machine", lambda: Usage(GIB, 1024 * GIB))


V2 = {
    "proc/self/cgroup": "0::/system.slice/sightline.service",
    "sys/fs/cgroup/system.slice/sightline.service/memory.max": "1000",
    "sys/fs/cgroup/system.slice/sightline.service/memory.current": "900",
    "sys/fs/cgroup/system.slice/sightline.service/memory.stat": "anon 500\ninactive_file 150\nactive_file 50",
}
V1 = {
    "proc/self/cgroup": "4:cpu:/x\n7:memory:/docker/0123\n0::/docker/0123",
    "sys/fs/cgroup/memory/docker/0123/memory.limit_in_bytes": "1000",
    "sys/fs/cgroup/memory/docker/0123/memory.usage_in_bytes": "800",
    "sys/fs/cgroup/memory/docker/0123/memory.stat": "inactive_file 1\ntotal_inactive_file 40\n"
    "total_active_file 60",
}


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        (V2, Usage(700, 1000)),
        (V1, Usage(700, 1000)),
        # In a container the group is the root of the mount, whatever it is called outside.
        (
            {
                "proc/self/cgroup": "0::/../../kubepods/pod1",
                "sys/fs/cgroup/memory.max": "2000",
                "sys/fs/cgroup/memory.current": "600",
            },
            Usage(600, 2000),
        ),
        (
            {
                "proc/self/cgroup": "7:memory:/docker/0123",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "2000",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "600",
            },
            Usage(600, 2000),
        ),
        # The slice above is nearer to its limit than the group itself.
        (
            {
                **V2,
                "sys/fs/cgroup/system.slice/memory.max": "5000",
                "sys/fs/cgroup/system.slice/memory.current": "4900",
            },
            Usage(4900, 5000),
        ),
        ({**V2, "sys/fs/cgroup/system.slice/sightline.service/memory.max": "max"}, Usage(GIB, 1024 * GIB)),
        (
            {**V1, "sys/fs/cgroup/memory/docker/0123/memory.limit_in_bytes": "9223372036854771712"},
            Usage(GIB, 1024 * GIB),
        ),
        ({}, Usage(GIB, 1024 * GIB)),
        ({"proc/self/cgroup": "junk\n::\n0"}, Usage(GIB, 1024 * GIB)),
    ],
)
def test_the_limit_that_is_nearest_counts(
    files: Callable[[dict[str, str]], Path], contents: dict[str, str], expected: Usage
) -> None:
    assert memory.usage(files(contents)) == expected


def test_the_least_limit_is_the_limit(files: Callable[[dict[str, str]], Path]) -> None:
    assert memory.limit_bytes(files(V2)) == 1000
    assert memory.limit_bytes(files({"proc/self/cgroup": ""})) > 1000


def test_this_machine_has_a_limit() -> None:
    found = memory.usage()
    assert 0 < found.used_bytes < found.limit_bytes
    assert memory.limit_bytes() > 2**20


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets how much of the memory is in use, in percent."""
    state = [0.0]
    monkeypatch.setattr(memory, "usage", lambda: Usage(int(state[0] * 10), 1000))
    monkeypatch.setattr(memory, "_FRESH_S", -1.0)
    monkeypatch.setattr(memory, "_LOOK_S", 0.01)

    def use(percent: float) -> None:
        state[0] = percent

    return use


@pytest.mark.parametrize(
    ("percent", "low", "critical"), [(89.9, False, False), (90, True, False), (95, True, True)]
)
def test_levels(used: Callable[[float], None], percent: float, low: bool, critical: bool) -> None:
    guard = MemoryGuard(90, 95)
    used(percent)
    assert (guard.is_low, guard.is_critical) == (low, critical)
    never = MemoryGuard(100, 100)
    used(100)
    assert (never.is_low, never.is_critical) == (False, False)


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.005)


async def test_low_memory_refuses_pictures_and_loads_and_unloads_idle_models(
    start: Any, define: Any, mean_colour: Any, counting: Any, held_model: Any, photo: Any, used: Any
) -> None:
    engine = start(
        define("colour", mean_colour),
        define("reader", counting, TEXT_EMBEDDING),
        define("busy", held_model),
        compute_slots=2,
    ).engine
    await engine.infer("colour", View(photo), soon())
    engine.pixels.leave(photo)
    await engine.infer("reader", "first", soon())
    held_model.gate.clear()
    busy = asyncio.create_task(engine.infer("busy", "1", soon()))
    await until(lambda: held_model.entered.acquire(blocking=False))
    used(92)
    with pytest.raises(MemoryLow):
        await engine.infer("colour", View(photo), soon())
    assert engine.loads()["colour"].items == 0
    await until(lambda: set(engine.residency.residents) == {"busy"})
    with pytest.raises(MemoryLow):
        await engine.infer("colour", View(photo), soon())
    with pytest.raises(MemoryLow):
        await engine.infer("reader", "second", soon())
    assert set(engine.residency.residents) == {"busy"}, "nothing was loaded"
    used(50)
    assert (await engine.infer("colour", View(photo), soon())).output.shape == (3,)
    held_model.gate.set()
    assert (await busy).output == "1" * 10


async def test_critical_memory_drops_all_at_once_but_what_is_preloaded(
    start: Any, define: Any, mean_colour: Any, counting: Any, photo: Any, used: Any
) -> None:
    engine = start(
        define("colour", mean_colour),
        define("kept", mean_colour),
        define("reader", counting, TEXT_EMBEDDING),
        preload=("kept",),
    ).engine
    await until(lambda: engine.ready)
    await engine.infer("colour", View(photo), soon())
    await engine.infer("reader", "first", soon())
    used(96)
    await until(lambda: set(engine.residency.residents) == {"kept"})
    used(0)
    assert (await engine.infer("reader", "first", soon())).output.tolist() == [5, 1]


def test_low_memory_is_503_with_retry_after(settings: Settings, used: Any) -> None:
    png = encode_png(np.full((30, 40, 3), 128, np.uint8))
    with TestClient(create_app(settings)) as client:
        used(92)
        answer = client.post("/v1/operations/embed_clip", content=png, headers={"content-type": "image/png"})
        assert (answer.status_code, answer.json()["code"]) == (503, "memory_low")
        assert int(answer.headers["retry-after"]) >= 1
        assert client.get("/readyz").status_code == 200
        used(10)
        answer = client.post("/v1/operations/embed_clip", content=png, headers={"content-type": "image/png"})
        assert answer.status_code == 200
