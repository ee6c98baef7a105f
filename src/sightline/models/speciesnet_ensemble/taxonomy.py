"""The taxa that a release has a label for, and their hierarchy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from sightline.errors import ModelBroken
from sightline.taxa import ANIMAL, BLANK, HUMAN, LEVELS, UNKNOWN, VEHICLE, Taxon

# What a roll-up reaches when not even the class is shared: the label "animal".
KINGDOM = "kingdom"


class Taxonomy:
    """Labels by key. Human and animal are always in it, under the labels of ``sightline.taxa``; blank,
    vehicle and unknown never are, whatever the release's file says: nothing rolls up to them."""

    def __init__(self, labels: Iterable[str]) -> None:
        """Raises ValueError when a label has not seven parts. Of two labels with one key the last counts."""
        by_key = {Taxon.parse(label).key: label for label in labels}
        for label in (BLANK, VEHICLE, UNKNOWN):
            by_key.pop(Taxon.parse(label).key, None)
        for label in (HUMAN, ANIMAL):
            by_key[Taxon.parse(label).key] = label
        self._by_key: Mapping[str, str] = by_key

    @classmethod
    def read(cls, path: Path) -> Taxonomy:
        """From a file with one label per line; empty lines are passed over.

        Raises:
            ModelBroken: it is not UTF-8 text, has no label, or a line is none.
        """
        try:
            lines = (line.strip() for line in path.read_text("utf-8").split("\n"))
            labels = [line for line in lines if line]
            if not labels:
                raise ValueError("it is empty")
            return cls(labels)
        except (OSError, ValueError) as error:
            raise ModelBroken(f"{path.name} is no taxonomy: {error}") from None

    def ancestor(self, label: str, level: str) -> str | None:
        """The label of the taxon that ``label`` belongs to at ``level`` (of ``taxa.LEVELS``, or ``KINGDOM``).

        None when the label itself is coarser than that, and when the release has no label for that taxon.
        Raises ValueError when ``label`` has not seven parts.
        """
        levels = Taxon.parse(label).levels
        if level == KINGDOM:
            # Without a class, only "animal" is known to be one; blank and vehicle look alike otherwise.
            return self._by_key.get(";" * (len(LEVELS) - 1)) if levels[0] or label == ANIMAL else None
        kept = LEVELS.index(level) + 1
        if not levels[kept - 1]:
            return None
        return self._by_key.get(";".join((*levels[:kept], *("" for _ in LEVELS[kept:]))))
