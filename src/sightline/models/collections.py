"""Classifiers of the user's own collections: a collection's id to the version of it that serves.

A classifier is a few kilobytes of plain numbers, read on the event loop when the collection's index changed.
A version that any process promoted serves a quarter of a second later, without a restart.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sightline.capabilities.membership import MEMBERSHIP
from sightline.collections import Classifier, Collections
from sightline.collections.collection import Signature
from sightline.errors import CollectionDamaged, UnknownCollection
from sightline.models import Connection, ModelCard, ModelDefinition, Runs, made_up
from sightline.settings import Settings
from sightline.types import Provenance

_log = logging.getLogger(__name__)

# Looking at a file's date takes two microseconds; a newly promoted version can wait this long for its turn.
LOOK_EVERY_S = 0.25

CARD = ModelCard(
    name="collection-classifiers",
    capabilities=frozenset({MEMBERSHIP}),
    description="Classifiers that were trained here: whether a picture belongs to a collection of yours",
    licence="your own",
    homepage="https://scikit-learn.org/stable/modules/linear_model.html",
    preprocessing="raw-embeddings",
    # One number per dimension of an embedding, so that a classifier on CLIP B/32 has 513.
    parameters=0,
    multiply_adds=0,
    runs=Runs.IN_LOOP,
)


@dataclass(slots=True)
class _Kept:
    classifier: Classifier
    signature: Signature
    looked_at: float


class ServingClassifiers:
    """A collection's id to its :class:`Classifier`. A version that cannot be read never replaces one that
    serves."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections
        self._kept: dict[str, _Kept] = {}

    def prepare(self, subject: str) -> str:
        return subject

    def infer(self, items: Sequence[str]) -> list[Classifier]:
        """Raises UnknownCollection, and CollectionDamaged where no version was read before."""
        return [self._serving(name) for name in items]

    def _serving(self, name: str) -> Classifier:
        now = time.monotonic()
        kept = self._kept.get(name)
        if kept is not None and now - kept.looked_at < LOOK_EVERY_S:
            return kept.classifier
        collection = self._collections.collection(name)
        signature = collection.signature()
        if signature is None:
            self._kept.pop(name, None)
            raise UnknownCollection(name)
        if kept is None:
            self._kept[name] = kept = _Kept(collection.serving(), signature, now)
        elif kept.signature != signature:
            try:
                kept.classifier = collection.serving()
            except CollectionDamaged as error:
                version = kept.classifier.record.version
                _log.error("%s; version %s goes on serving", error, version)
            kept.signature = signature
        kept.looked_at = now
        return kept.classifier


def connect(settings: Settings) -> Connection:
    """Never fails: a folder that is not there has no collections yet."""
    collections = Collections.from_settings(settings)
    return Connection(ServingClassifiers(collections), str(collections.root), Provenance.TRAINED)


MODELS = (ModelDefinition(CARD, connect=connect, made_up=made_up.classifiers),)
