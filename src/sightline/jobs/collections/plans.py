"""How pictures become vectors: which embeddings, of which part of a picture."""

from __future__ import annotations

from collections.abc import Collection as Names
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sightline import models
from sightline.capabilities.embedding import IMAGE_EMBEDDING
from sightline.collections import Space
from sightline.errors import InvalidParameters, UnknownModel
from sightline.jobs.collections.pickles import SPACES as CONTRACT_SPACES
from sightline.types import FaceContext, Target

USUAL_SPACE = "clip-vit-b-32"
# What people call them; the contract's names and the spaces' own are understood as well.
SHORT_NAMES: Mapping[str, str] = {"clip": USUAL_SPACE, "dinov2": "dinov2-base"}
MOST_SPACES = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """Embeddings, one after the other in this order, of one part of each picture."""

    spaces: tuple[str, ...] = (USUAL_SPACE,)
    target: Target = Target.WHOLE_IMAGE
    face_context: FaceContext = FaceContext.PROMINENT_PERSON

    def of_spaces(self, written: str, known: Names[str] | None = None) -> Plan:
        """The same for other embeddings. See :func:`spaces_of`."""
        return replace(self, spaces=spaces_of(written, known))


def spaces_of(written: str, known: Names[str] | None = None) -> tuple[str, ...]:
    """``"clip+dinov2"`` as names of spaces, in that order.

    Args:
        known: the spaces there are; None where vectors are given and nothing has to be computed.

    Raises:
        InvalidParameters: a name is empty or comes twice, or there are too many.
        UnknownModel: one is not in ``known``; the message lists those.
    """
    words = [word.strip() for word in written.split("+")]
    spaces = tuple(SHORT_NAMES.get(word) or CONTRACT_SPACES.get(word) or word for word in words)
    if "" in spaces or len(set(spaces)) != len(spaces) or len(spaces) > MOST_SPACES:
        raise InvalidParameters(
            f"{written[:100]!r} names no embeddings; write clip, dinov2, clip+dinov2, or up to {MOST_SPACES} "
            "different spaces joined by +"
        )
    if known is not None and (unknown := [space for space in spaces if space not in known]):
        short = ", ".join(f"{word} ({space})" for word, space in SHORT_NAMES.items() if space in known)
        there_are = f"{', '.join(sorted(known))}; in short {short}"
        raise UnknownModel(f"there is no embedding {unknown[0][:100]!r}; there are {there_are}")
    return spaces


def known_spaces(plugins_dir: Path | None = None) -> frozenset[str]:
    """The spaces that installed models can embed pictures in."""
    cards = [definition.card for definition in models.catalogue(plugins_dir).values()]
    return frozenset(card.space or card.name for card in cards if IMAGE_EMBEDDING in card.capabilities)


def with_fingerprints(spaces: tuple[str, ...], fingerprints: Mapping[str, str]) -> tuple[Space, ...]:
    """Spaces whose vectors came ready-made, from models with these fingerprints as far as they are known."""
    return tuple(Space(space, fingerprints.get(space)) for space in spaces)
