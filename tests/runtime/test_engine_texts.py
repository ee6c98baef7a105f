"""Texts that an embedder has read are not read again, as long as its weights are the same."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.capabilities.caption import CAPTION
from sightline.capabilities.embedding import TEXT_EMBEDDING
from sightline.errors import UnknownModel
from sightline.models import Runs
from sightline.runtime import residency as residency_module
from sightline.runtime.engine import Context, Engine
from sightline.runtime.residency import wanted
from sightline.types import Provenance
from sightline.weights.sources import Artifact, HubFile
from sightline.weights.store import Store

FILES = (Artifact("weights.bin", (HubFile("org/repo", "weights.bin"),)),)


class Reader:
    """A text as its length times what the weights say."""

    def __init__(self, weight: int) -> None:
        self.weight = weight

    def prepare(self, text: str) -> np.ndarray:
        return np.array([self.weight * len(text)], np.float32)

    def infer(self, items: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.array(item) for item in items]


def load(files: dict[str, Path], graphs: Any) -> Reader:
    return Reader(int(files["weights.bin"].read_text()))


def install(definition: Any, folder: Path, models_dir: Path, weight: int) -> None:
    folder.mkdir()
    (folder / "weights.bin").write_text(str(weight))
    Store(models_dir).adopt(wanted(definition), folder, Provenance.EXPORTED, "a test")


async def ask(engine: Engine, text: str, model: str = "reader") -> Any:
    return await engine.infer(model, text, Context.lasting(10))


async def unloaded(engine: Engine) -> None:
    async with asyncio.timeout(10):
        while "reader" in engine.residency.residents:  # noqa: ASYNC110 - housekeeping brings it about
            await asyncio.sleep(0.005)


@pytest.fixture
def reader(define: Any) -> Any:
    return define("reader", None, TEXT_EMBEDDING, load=load, files=FILES, space="s")


async def test_a_text_is_read_once(
    start: Any, reader: Any, recorder: Any, configure: Any, tmp_path: Path
) -> None:
    install(reader, tmp_path / "made", configure().models_dir, 2)
    engine = start(reader).engine
    first = await ask(engine, "four")
    again = await ask(engine, "four")
    assert first.output.tolist() == again.output.tolist() == [8.0]
    assert again.model == first.model
    assert recorder.batches == [("reader", 1)]
    await ask(engine, "other")
    assert len(recorder.batches) == 2


async def test_an_unloaded_model_is_not_loaded_for_what_it_said_before(
    start: Any, reader: Any, recorder: Any, configure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residency_module, "HOUSEKEEPING_S", 0.01)
    install(reader, tmp_path / "made", configure().models_dir, 2)
    engine = start(reader, idle_unload_s=0.01).engine
    await ask(engine, "four")
    await unloaded(engine)
    assert (await ask(engine, "four")).output.tolist() == [8.0]
    assert recorder.counts["loaded reader"] == 1
    await ask(engine, "other")
    assert recorder.counts["loaded reader"] == 2


async def test_new_weights_read_everything_anew(
    start: Any, reader: Any, recorder: Any, configure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residency_module, "HOUSEKEEPING_S", 0.01)
    install(reader, tmp_path / "made", configure().models_dir, 2)
    engine = start(reader, idle_unload_s=0.01).engine
    old = await ask(engine, "four")
    await unloaded(engine)
    install(reader, tmp_path / "made anew", configure().models_dir, 3)
    new = await ask(engine, "four")
    assert new.output.tolist() == [12.0]
    assert new.model.fingerprint != old.model.fingerprint
    assert (await ask(engine, "four")).output.tolist() == [12.0]
    assert len(recorder.batches) == 2


async def test_a_model_that_was_taken_away_says_nothing(
    start: Any, reader: Any, configure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residency_module, "HOUSEKEEPING_S", 0.01)
    install(reader, tmp_path / "made", configure().models_dir, 2)
    engine = start(reader, idle_unload_s=0.01).engine
    await ask(engine, "four")
    await unloaded(engine)
    Store(configure().models_dir).remove("reader")
    with pytest.raises(Exception, match="reader"):
        await ask(engine, "four")


async def test_only_vectors_of_texts_computed_here_are_kept(
    start: Any, define: Any, held_models: Any, recorder: Any
) -> None:
    """Numbers are no vectors, a look-up computes nothing, and a caption is no embedding."""
    numbers = define("numbers", held_models(), TEXT_EMBEDDING)
    looked_up = define("looked-up", Reader(1), TEXT_EMBEDDING)
    looked_up = replace(looked_up, card=replace(looked_up.card, runs=Runs.IN_LOOP))
    writer = define("writer", held_models(), CAPTION)
    engine = start(numbers, looked_up, writer).engine
    for _ in range(2):
        for model in ("numbers", "looked-up", "writer"):
            await ask(engine, "text", model)
    assert sorted(recorder.batches) == [("numbers", 1)] * 2 + [("writer", 1)] * 2


async def test_an_unknown_model_is_still_one(start: Any, reader: Any) -> None:
    with pytest.raises(UnknownModel):
        await ask(start(reader).engine, "four", "nobody")
