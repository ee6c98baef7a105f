"""The text in kept pictures: street names, dates and legends of maps. Each file is read once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline.errors import SightlineError
from sightline.imaging import picture_from_pixels
from sightline.jobs.describing import RunEnded, answered
from sightline.jobs.koop.store.state import MANIFEST_IS_STALE, State
from sightline.jobs.looking import Seen, for_many, look
from sightline.runtime.analyzer import Analyzer, BoundTask, Task
from sightline.runtime.engine import Context
from sightline.settings import Settings
from sightline.types import Priority

OPERATION = "read_text"
# A map has more labels than anyone reads in a manifest.
MAX_LINES = 200
# Nobody waits for a single picture.
_TIMEOUT_S = 3600.0
# While one picture is read, another is decoded.
_AT_ONCE = 2
_FILES = 1000
_BLANK_SIDE = 64


@dataclass(frozen=True, slots=True)
class Read:
    """Numbers of pictures: how many have been read, of how many, and how many of them failed."""

    done: int
    of: int
    failed: int


class Texts:
    """The texts of one state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def unread(self, model: str) -> list[str]:
        """Return the kept files, relative to the folder, that ``model`` has not read."""
        rows = self._state.rows(
            "SELECT DISTINCT files.file FROM files LEFT JOIN texts ON texts.file = files.file "
            "AND texts.model = ? WHERE texts.file IS NULL ORDER BY files.file",
            (model,),
        )
        return [str(row["file"]) for row in rows]

    def save(self, file: str, model: str, lines: Sequence[dict[str, Any]], error: str | None = None) -> None:
        """Store what ``model`` read in a file, or why it could not."""
        with self._state.transaction():
            self._state.execute(
                "INSERT OR REPLACE INTO texts VALUES (?, ?, ?, ?)",
                (file, model, json.dumps(list(lines), ensure_ascii=False), error),
            )
            self._state.put(MANIFEST_IS_STALE, True)


class Reader:
    """Reads the kept pictures of a folder. ``model`` is the fingerprint of the model that reads."""

    def __init__(self, analyzer: Analyzer, task: BoundTask, model: str) -> None:
        self.model = model
        self._analyzer = analyzer
        self._task = task

    @classmethod
    async def ready(cls, analyzer: Analyzer) -> Reader:
        """Load the model, by having it read a blank picture.

        Raises:
            ModelError: the model is missing or broken; the message says how to get it.
        """
        task = analyzer.bind(Task("text", OPERATION, {"max_lines": MAX_LINES}))
        blank = np.full((_BLANK_SIDE, _BLANK_SIDE, 3), 255, np.uint8)
        picture = picture_from_pixels(blank, analyzer.limits, source="blank")
        context = Context.lasting(_TIMEOUT_S, Priority.BULK)
        (outcome,) = await analyzer.analyze(picture, [task], context)
        if outcome.error is not None:
            raise outcome.error
        assert outcome.answer is not None
        assert outcome.answer.model is not None
        return cls(analyzer, task, outcome.answer.model.fingerprint)

    async def read_all(self, folder: Path, state: State, report: Callable[[Read], None]) -> Read:
        """Read every kept picture that has not been read. Each is stored at once, so a run can be stopped.

        Raises:
            RunEnded: no picture can be read.
        """
        texts = Texts(state)
        files = texts.unread(self.model)
        done = failed = 0
        for start in range(0, len(files), _AT_ONCE):
            some = files[start : start + _AT_ONCE]
            looks = [look(self._analyzer, str(folder / file), [self._task], _TIMEOUT_S) for file in some]
            for file, seen in zip(some, await asyncio.gather(*looks), strict=True):
                try:
                    texts.save(file, self.model, _lines(seen))
                except RunEnded:
                    raise
                except SightlineError as error:
                    texts.save(file, self.model, (), str(error))
                    failed += 1
                done += 1
            report(Read(done, len(files), failed))
        return Read(done, len(files), failed)


@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[Reader]:
    """A reader that computes in this process.

    Raises:
        ConfigurationError: a setting is wrong.
        ModelError: the model is missing or broken; the message says how to get it.
    """
    async with Analyzer.create(for_many(settings, _FILES)) as analyzer:
        yield await Reader.ready(analyzer)


def _lines(seen: Seen) -> list[dict[str, Any]]:
    """Text and score of each line. Raises as ``answered`` does."""
    _, data = answered(seen)
    return [{"text": line["text"], "score": line["score"]} for line in data.model_dump()["lines"]]
