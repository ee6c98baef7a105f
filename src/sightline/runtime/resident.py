"""A model in memory, where it stands otherwise, and what the store has to know to bring it in."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass, field
from enum import StrEnum

from sightline.errors import SightlineError
from sightline.models import Catalogue, Connection, Model, ModelDefinition, RemoteModel
from sightline.types import ModelRef
from sightline.weights.shared_files import keys_of
from sightline.weights.store import Wanted

_log = logging.getLogger(__name__)


class ModelState(StrEnum):
    """``MISSING`` has no weights here, ``AVAILABLE`` has and is not loaded."""

    MISSING = "missing"
    AVAILABLE = "available"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Resident:
    """A loaded model. ``num_bytes`` is the size of its files, the measure of its memory."""

    model: Model | RemoteModel
    ref: ModelRef
    num_bytes: int
    last_used: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last load failed, and when."""

    error: SightlineError
    at: float

    def again(self) -> SightlineError:
        """The error to raise: a new one, as one raised again and again would keep every caller's frames."""
        return type(self.error)(str(self.error))


def wanted(definition: ModelDefinition) -> Wanted:
    """Return the part of a model's card that the store needs."""
    card = definition.card
    return Wanted(
        model=card.name,
        artifacts=card.artifacts,
        licence=card.licence,
        homepage=card.homepage,
        preprocessing=card.preprocessing,
    )


def companions(want: Wanted, catalogue: Catalogue) -> list[Wanted]:
    """Return the other models of the same space that are made of a file that ``want`` downloads.

    Whoever asks for one asks for the other sooner or later, and the file is deleted once it is converted.
    """
    space, keys = catalogue[want.model].card.space, set(keys_of(want))
    if space is None or not keys:
        return []
    return [
        wanted(definition)
        for definition in catalogue.values()
        if definition.card.space == space
        and definition.name != want.model
        and keys.intersection(keys_of(wanted(definition)))
    ]


def connected(name: str, connection: Connection) -> Resident:
    fingerprint = hashlib.sha256(connection.identity.encode()).hexdigest()[:16]  # as manifests
    return Resident(connection.model, ModelRef(name, fingerprint, connection.provenance), num_bytes=0)


async def closed(resident: Resident) -> None:
    """Models elsewhere hold connections; the others hold nothing but memory."""
    close = getattr(resident.model, "close", None)
    if close is None:
        return
    try:
        await close()
    except Exception:
        _log.exception("closing %s", resident.ref.name)
