"""Capabilities: questions that models answer. One file per domain, with its subjects and outputs.

To add a capability, add a file here (or in a plug-in folder) that declares the types of its domain and a
token: ``SHARPNESS: Capability[View, float] = Capability("sharpness", "How sharp a view is, 0 to 1.")``, and
``CAPABILITIES = (SHARPNESS,)``. Models list the token on their card. Operations pass it to ``Scene.infer``,
whose subject and output then have its types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from sightline import registry
from sightline.imaging import Picture, View


class Held(Protocol):
    """A subject that holds memory.

    It is hashable, because equal subjects of one request are computed once. A subject that holds views has
    an attribute ``pictures``, a tuple of their pictures: decoding them counts against the memory limit.
    """

    def __hash__(self) -> int: ...

    @property
    def held_bytes(self) -> int:
        """Memory in bytes that stays occupied while the subject waits for its model."""
        ...


# A text's memory is its length.
Subject = str | Held

SubjectT = TypeVar("SubjectT", bound=Subject)
OutputT = TypeVar("OutputT")


@dataclass(frozen=True, slots=True)
class Capability(Generic[SubjectT, OutputT]):
    """A typed token: models with it turn a ``SubjectT`` into an ``OutputT``. Equal if the names are equal.

    Attributes:
        name: unique, lowercase with underscores. Commands, HTTP and docs use it.
        description: one sentence, for people.
    """

    name: str
    description: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.name


def catalogue(plugins_dir: Path | None = None) -> Mapping[str, Capability[Any, Any]]:
    """Return every capability built in, installed or plugged in, by name.

    Raises:
        ConfigurationError: a plug-in cannot be imported, or two capabilities have one name.
    """
    return registry.discover("sightline.capabilities", "CAPABILITIES", Capability, plugins_dir)


def pictures_of(subject: object) -> tuple[Picture, ...]:
    """Return the pictures that a model may decode for ``subject``."""
    if isinstance(subject, View):
        return (subject.picture,)
    pictures: tuple[Picture, ...] = getattr(subject, "pictures", ())
    return pictures


def held_bytes(subject: Subject) -> int:
    """Return the memory in bytes that ``subject`` occupies."""
    return len(subject) if isinstance(subject, str) else subject.held_bytes
