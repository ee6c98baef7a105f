from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sightline.errors import (
    ConfigurationError,
    ModelBroken,
    ModelLoading,
    ModelUnavailable,
    SightlineError,
    UnknownModel,
)
from sightline.models import ModelDefinition
from sightline.runtime import residency as residency_module
from sightline.runtime.residency import ModelState, Residency, wanted
from sightline.types import Provenance
from sightline.weights.sources import Artifact
from sightline.weights.store import Store

WAIT_S = 10.0
FILES = (Artifact("weights.bin", ()),)

Reside = Callable[..., Residency]


def in_s(seconds: float = WAIT_S) -> float:
    return time.monotonic() + seconds


@pytest.fixture
async def reside(tmp_path: Path, recorder: Any, configure: Any) -> AsyncIterator[Reside]:
    """Makes a residency of the given definitions."""
    made: list[Residency] = []

    def make(
        *definitions: ModelDefinition,
        store: Store | None = None,
        budget_bytes: int = 0,
        **options: Any,
    ) -> Residency:
        residency = Residency(
            {definition.name: definition for definition in definitions},
            store or Store(tmp_path / "store", offline=True),
            lambda path, **how: None,  # type: ignore[arg-type, return-value]
            recorder,
            configure(**{"auto_pull": False, **options}),
            budget_bytes=budget_bytes,
        )
        made.append(residency)
        return residency

    yield make
    for residency in made:
        await residency.close()


class SlowLoad:
    """A ``load`` that waits until it is let through."""

    def __init__(self, model: object = "model") -> None:
        self.model = model
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.calls = 0

    def __call__(self, files: Any, graphs: Any) -> Any:
        self.calls += 1
        self.begun.set()
        assert self.gate.wait(WAIT_S)
        if isinstance(self.model, BaseException):
            raise self.model
        return self.model


async def use(residency: Residency, name: str, seconds: float = WAIT_S) -> Any:
    async with residency.using(name, in_s(seconds)) as resident:
        return resident


def adopt(
    store: Store, definition: ModelDefinition, folder: Path, provenance: Provenance, size: int = 8
) -> None:
    folder.mkdir()
    (folder / "weights.bin").write_bytes(definition.name.encode().ljust(size, b"."))
    store.adopt(wanted(definition), folder, provenance, "a test")


# -- loading -----------------------------------------------------------------------------------------------


async def test_fifty_askers_load_a_model_once(reside: Reside, define: Any, recorder: Any) -> None:
    load = SlowLoad()
    residency = reside(define("slow", load=load))
    askers = [asyncio.create_task(use(residency, "slow")) for _ in range(50)]
    await asyncio.to_thread(load.begun.wait, WAIT_S)
    assert residency.state("slow") is ModelState.LOADING
    load.gate.set()
    residents = await asyncio.gather(*askers)
    assert load.calls == 1
    assert len({id(resident) for resident in residents}) == 1
    assert residency.state("slow") is ModelState.READY
    assert recorder.counts["loaded slow"] == 1


async def test_others_answer_while_one_loads(reside: Reside, define: Any) -> None:
    load = SlowLoad()
    residency = reside(define("slow", load=load), define("quick", "quick model"))
    slow = asyncio.create_task(use(residency, "slow"))
    await asyncio.to_thread(load.begun.wait, WAIT_S)
    assert (await use(residency, "quick", 2.0)).model == "quick model"
    assert not slow.done()
    load.gate.set()
    await slow


async def test_a_model_without_files_is_built_in(reside: Reside, define: Any) -> None:
    residency = reside(define("plain", "model"))
    assert residency.state("plain") is ModelState.AVAILABLE
    resident = await use(residency, "plain")
    assert resident.ref.provenance is Provenance.BUILT_IN
    assert resident.ref.fingerprint


async def test_an_unknown_model_is_said_with_those_there_are(reside: Reside, define: Any) -> None:
    with pytest.raises(UnknownModel, match="'other'; there are plain"):
        await use(reside(define("plain", "model")), "other")


async def test_who_cannot_wait_is_told_and_loading_goes_on(reside: Reside, define: Any) -> None:
    load = SlowLoad()
    residency = reside(define("slow", load=load))
    with pytest.raises(ModelLoading, match="slow is still being loaded"):
        await use(residency, "slow", 0.02)
    load.gate.set()
    assert (await use(residency, "slow")).model == "model"
    assert load.calls == 1


async def test_an_asker_that_goes_away_takes_the_model_from_nobody(reside: Reside, define: Any) -> None:
    load = SlowLoad()
    residency = reside(define("slow", load=load))
    first, second = (asyncio.create_task(use(residency, "slow")) for _ in range(2))
    await asyncio.to_thread(load.begun.wait, WAIT_S)
    first.cancel()
    load.gate.set()
    assert (await second).model == "model"
    assert first.cancelled()


# -- failing -----------------------------------------------------------------------------------------------


async def test_a_failed_load_is_remembered_and_then_tried_again(
    reside: Reside, define: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def load(files: Any, graphs: Any) -> str:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("/secret/path")
        return "model"

    residency = reside(define("moody", load=load))
    for _ in range(3):
        with pytest.raises(ModelBroken, match=r"moody does not load \(ValueError\)") as caught:
            await use(residency, "moody")
        assert "secret" not in str(caught.value)
    assert len(calls) == 1
    assert residency.state("moody") is ModelState.FAILED
    assert "does not load" in (residency.failure("moody") or "")
    monkeypatch.setattr(residency_module, "RETRY_FAILED_LOAD_S", 0.0)
    assert (await use(residency, "moody")).model == "model"
    assert residency.state("moody") is ModelState.READY
    assert residency.failure("moody") is None


async def test_a_missing_device_is_remembered_as_well(reside: Reside, define: Any) -> None:
    load = SlowLoad(ConfigurationError("no such device"))
    load.gate.set()
    residency = reside(define("gpu-only", load=load))
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="no such device"):
            await use(residency, "gpu-only")
    assert load.calls == 1


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), StopIteration()])
async def test_the_event_loop_survives_whatever_a_load_raises(
    reside: Reside, define: Any, error: BaseException
) -> None:
    load = SlowLoad(error)
    load.gate.set()
    with pytest.raises(ModelBroken, match=type(error).__name__):
        await use(reside(define("wild", load=load)), "wild")


async def test_a_remembered_failure_keeps_nothing_of_those_who_asked(reside: Reside, define: Any) -> None:
    class Picture:
        pass

    load = SlowLoad(ValueError())
    load.gate.set()
    residency = reside(define("broken", load=load))
    gone = []

    async def ask() -> None:
        picture = Picture()
        gone.append(weakref.ref(picture))
        await use(residency, "broken")

    for _ in range(3):
        with pytest.raises(ModelBroken):
            await ask()
    # The loader's thread may hold the first error for a moment longer.
    await until(lambda: gc.collect() >= 0 and [reference() for reference in gone] == [None] * 3)


async def test_missing_weights_say_how_to_get_them(reside: Reside, define: Any) -> None:
    residency = reside(define("absent", "model", files=FILES))
    assert residency.state("absent") is ModelState.MISSING
    with pytest.raises(ModelUnavailable, match="sightline models pull absent"):
        await use(residency, "absent")
    assert residency.state("absent") is ModelState.MISSING


async def test_weights_that_cannot_be_pulled_make_a_model_unavailable(reside: Reside, define: Any) -> None:
    residency = reside(define("absent", "model", files=FILES), auto_pull=True)
    with pytest.raises(ModelUnavailable, match=r"absent: missing weights\.bin"):
        await use(residency, "absent")


async def test_installed_files_reach_the_model(reside: Reside, define: Any, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    definition = define("here", load=lambda files, graphs: files["weights.bin"].read_bytes(), files=FILES)
    adopt(store, definition, tmp_path / "made", Provenance.EXPORTED)
    residency = reside(definition, store=store)
    assert residency.state("here") is ModelState.AVAILABLE
    resident = await use(residency, "here")
    assert resident.model == b"here...."
    assert resident.num_bytes == 8
    assert resident.ref.provenance is Provenance.EXPORTED
    assert len(resident.ref.fingerprint) == 16


async def test_a_file_that_was_tampered_with_is_not_loaded(
    reside: Reside, define: Any, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    definition = define("here", "model", files=FILES)
    adopt(store, definition, tmp_path / "made", Provenance.EXPORTED)
    path = store.installed(wanted(definition)).files["weights.bin"]  # type: ignore[union-attr]
    path.chmod(0o644)
    path.write_bytes(b"evil....")
    with pytest.raises(ModelUnavailable, match=r"weights\.bin of here is not what was installed; repair it"):
        await use(reside(definition, store=store), "here")


async def test_random_weights_are_refused_unless_allowed(
    reside: Reside, define: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    definition = define("dice", "model", files=FILES)
    adopt(Store(tmp_path / "store"), definition, tmp_path / "made", Provenance.RANDOM)
    with pytest.raises(ModelUnavailable):
        await use(reside(definition, store=Store(tmp_path / "store")), "dice")
    allowed = reside(definition, store=Store(tmp_path / "store", allow_random=True))
    assert (await use(allowed, "dice")).ref.provenance is Provenance.RANDOM
    assert "dice has random weights" in caplog.text


# -- unloading ---------------------------------------------------------------------------------------------


@pytest.fixture
def quick_housekeeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency_module, "HOUSEKEEPING_S", 0.01)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - other threads bring it about
            await asyncio.sleep(0.005)


@pytest.mark.usefixtures("quick_housekeeping")
async def test_an_idle_model_is_unloaded_and_comes_back(reside: Reside, define: Any, recorder: Any) -> None:
    class Model:
        pass

    residency = reside(define("idle", load=lambda files, graphs: Model()), idle_unload_s=0.05)
    keeper = asyncio.create_task(residency.housekeep())
    gone = weakref.ref((await use(residency, "idle")).model)
    await until(lambda: residency.state("idle") is ModelState.AVAILABLE)
    gc.collect()
    assert gone() is None
    assert recorder.counts["unloaded idle"] == 1
    await use(residency, "idle")
    assert recorder.counts["loaded idle"] == 2
    keeper.cancel()


@pytest.mark.usefixtures("quick_housekeeping")
async def test_what_is_in_use_or_pinned_is_not_idle(reside: Reside, define: Any, recorder: Any) -> None:
    residency = reside(define("used", 1), define("pinned", 2), define("idle", 3), idle_unload_s=0.02)
    keeper = asyncio.create_task(residency.housekeep())
    await residency.preload("pinned")
    async with residency.using("used", in_s()):
        await use(residency, "idle")
        await until(lambda: residency.state("idle") is ModelState.AVAILABLE)
        await asyncio.sleep(0.05)
        assert residency.state("used") is ModelState.READY
        assert residency.state("pinned") is ModelState.READY
    await until(lambda: residency.state("used") is ModelState.AVAILABLE)
    assert residency.state("pinned") is ModelState.READY
    keeper.cancel()


@pytest.fixture
def sized(define: Any, tmp_path: Path) -> tuple[Store, Callable[[str], ModelDefinition]]:
    """A store, and models of 100 bytes each that lie in it."""
    store = Store(tmp_path / "store")

    def make(name: str) -> ModelDefinition:
        definition: ModelDefinition = define(name, name, files=FILES)
        adopt(store, definition, tmp_path / name, Provenance.EXPORTED, size=100)
        return definition

    return store, make


def loaded(residency: Residency) -> set[str]:
    return set(residency.residents)


async def test_the_least_recently_used_goes_when_the_budget_is_passed(reside: Reside, sized: Any) -> None:
    store, make = sized
    residency = reside(*map(make, "abc"), store=store, budget_bytes=250)
    for name in "aba":
        await use(residency, name)
    await use(residency, "c")
    assert loaded(residency) == {"a", "c"}


async def test_what_is_in_use_or_pinned_outlives_the_budget(
    reside: Reside, sized: Any, quick_housekeeping: None
) -> None:
    store, make = sized
    residency = reside(*map(make, "abcd"), store=store, budget_bytes=250)
    await residency.preload("a")
    async with residency.using("b", in_s()):
        await use(residency, "c")
        assert loaded(residency) == {"a", "b", "c"}  # over the budget: nothing can go
        await use(residency, "d")
        assert loaded(residency) == {"a", "b", "d"}
    keeper = asyncio.create_task(residency.housekeep())
    await until(lambda: len(loaded(residency)) == 2)
    assert "a" in loaded(residency)
    keeper.cancel()


async def test_a_model_larger_than_the_budget_is_kept_while_it_is_the_newest(
    reside: Reside, sized: Any, quick_housekeeping: None
) -> None:
    store, make = sized
    residency = reside(*map(make, "ab"), store=store, budget_bytes=50)
    keeper = asyncio.create_task(residency.housekeep())
    await use(residency, "a")
    await asyncio.sleep(0.05)
    assert loaded(residency) == {"a"}
    await use(residency, "b")
    assert loaded(residency) == {"b"}
    keeper.cancel()


async def test_a_model_is_not_evicted_between_loading_and_its_first_use(
    reside: Reside, define: Any, sized: Any
) -> None:
    """Two models arrive in the same turn of the event loop while each has somebody waiting."""
    store, make = sized
    residency = reside(*map(make, "ab"), store=store, budget_bytes=100)

    async def hold(name: str) -> set[str]:
        async with residency.using(name, in_s()):
            await asyncio.sleep(0.05)
            return loaded(residency)

    assert await asyncio.gather(hold("a"), hold("b")) == [{"a", "b"}] * 2


async def test_preloading_an_evictable_model_pins_it(reside: Reside, sized: Any) -> None:
    store, make = sized
    residency = reside(*map(make, "ab"), store=store, budget_bytes=100)
    await use(residency, "a")
    await residency.preload("a")
    await use(residency, "b")
    assert "a" in loaded(residency)


# -- the end -----------------------------------------------------------------------------------------------


async def test_who_waits_for_a_model_at_the_end_gets_an_error(reside: Reside, define: Any) -> None:
    load = SlowLoad()
    residency = reside(define("slow", load=load))
    asking = asyncio.create_task(use(residency, "slow"))
    await asyncio.to_thread(load.begun.wait, WAIT_S)
    closing = asyncio.create_task(residency.close())
    with pytest.raises(SightlineError, match="shut down"):
        await asking
    load.gate.set()
    await closing
    assert loaded(residency) == set()
    with pytest.raises(SightlineError, match="shut down"):
        await use(residency, "slow")
