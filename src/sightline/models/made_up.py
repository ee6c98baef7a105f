"""Answers that mean nothing, for rehearsals: what stands in for models that settings connect to."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence

import numpy as np

from sightline import json_schema
from sightline.capabilities.caption import CaptionRequest
from sightline.capabilities.question import Question, Reply
from sightline.collections.classifier import Classifier
from sightline.collections.records import Recipe, Record, Space
from sightline.models import Connection
from sightline.settings import Settings
from sightline.types import Provenance

_TEXT = "This answer is made up: the server was started for a rehearsal, without any model."
# The space whose vectors made-up classifiers judge, and how many numbers these have.
_SPACE, _DIMENSIONS = "clip-vit-b-32", 512


class MadeUpAnswers:
    """A ``models.RemoteModel`` that answers at once: fixed words, or JSON that fits the schema."""

    async def answer(self, subject: Question | CaptionRequest, timeout_s: float) -> Reply | str:
        """Raises InvalidParameters: no made-up value was found that fits the schema."""
        if isinstance(subject, CaptionRequest):
            return _TEXT
        if subject.schema_json is None:
            return Reply(_TEXT, "made up")
        value = await asyncio.to_thread(json_schema.example, json.loads(subject.schema_json))
        return Reply(json.dumps(value), "made up", structured=value)

    async def close(self) -> None:
        """Nothing is open."""


class MadeUpClassifiers:
    """A classifier for every collection: its weights are drawn by the collection's name."""

    def prepare(self, subject: str) -> str:
        """Return the collection's id as it is."""
        return subject

    def infer(self, items: Sequence[str]) -> list[Classifier]:
        """Return one classifier per id; equal ids give equal classifiers."""
        return [_classifier(name) for name in items]


def answers(settings: Settings) -> Connection:
    """Connect to made-up answers."""
    return Connection(MadeUpAnswers(), "made up", Provenance.RANDOM)


def classifiers(settings: Settings) -> Connection:
    """Connect to made-up classifiers."""
    return Connection(MadeUpClassifiers(), "made up", Provenance.RANDOM)


def _classifier(name: str) -> Classifier:
    digest = hashlib.sha256(name.encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    record = Record(
        collection=name,
        version="20260101T000000Z",
        recipe=Recipe((Space(_SPACE),), _DIMENSIONS),
        weights_sha256=digest.hex(),
        origin="made up",
        trained_at=None,
    )
    return Classifier.of(record, generator.normal(0, 0.1, _DIMENSIONS), 0.0)
