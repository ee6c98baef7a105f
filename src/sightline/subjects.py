"""What models are asked about: views, texts, and views with words on how to answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sightline.imaging import View


class Held(Protocol):
    """A subject that holds memory. Hashable: equal subjects of one request are looked at once."""

    def __hash__(self) -> int: ...

    @property
    def held_bytes(self) -> int:
        """Memory in bytes that stays occupied while the subject waits for its model."""
        ...


# A text holds what it is long.
Subject = str | Held


@dataclass(frozen=True, slots=True)
class CaptionRequest:
    """A view to be put in words, by models with ``Capability.CAPTION``.

    Attributes:
        max_length: most tokens of the caption, the invisible ones at its start and end included.
        num_beams: how many captions are followed at once; 1 takes the likeliest word each time.
    """

    view: View
    max_length: int = 50
    num_beams: int = 4

    @property
    def held_bytes(self) -> int:
        return self.view.held_bytes


def held_bytes(subject: Subject) -> int:
    """Memory in bytes that ``subject`` stands for."""
    return len(subject) if isinstance(subject, str) else subject.held_bytes
