"""Captions."""

from __future__ import annotations

from dataclasses import dataclass

from sightline.capabilities import Capability
from sightline.imaging import Picture, View


@dataclass(frozen=True, slots=True)
class CaptionRequest:
    """A view and how to describe it in words.

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

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return (self.view.picture,)


CAPTION: Capability[CaptionRequest, str] = Capability("caption", "A view in one sentence.")

CAPABILITIES = (CAPTION,)
