"""Names of animals as SpeciesNet writes them: "uuid;class;order;family;genus;species;common name".

In lower case, empty from the first level on that is not known; "species" is the epithet alone. The levels
between the uuid and the common name, joined by semicolons, are the taxon's *key*.
"""

from __future__ import annotations

from dataclasses import dataclass

# Labels with a meaning of their own, as SpeciesNet 4 has them in every release.
BLANK = "f1856211-cfb7-4a5b-9158-c0f72fd09ee6;;;;;;blank"
ANIMAL = "1f689929-883d-4dae-958c-3d57ab5b6c16;;;;;;animal"
HUMAN = "990ae9dd-7a59-4344-afcb-1b7b21368000;mammalia;primates;hominidae;homo;sapiens;human"
VEHICLE = "e2895ed5-780b-48f6-8a11-9e27cb594511;;;;;;vehicle"
_NO_RESULT = "no cv result"
UNKNOWN = ";".join(("f2efdae9-efb8-48fb-8a91-eccf79ab4ffb", *(6 * (_NO_RESULT,))))

LEVELS = ("class", "order", "family", "genus", "species")
_PARTS = len(LEVELS) + 2


@dataclass(frozen=True, slots=True)
class Taxon:
    """One label, taken apart. ``levels`` are class, order, family, genus and epithet, "" where not known."""

    uuid: str
    levels: tuple[str, ...]
    common_name: str

    @classmethod
    def parse(cls, label: str) -> Taxon:
        """Raises ValueError when ``label`` has not seven parts."""
        parts = label.split(";")
        if len(parts) != _PARTS:
            raise ValueError(
                "a label is 'uuid;class;order;family;genus;species;common name', seven parts; "
                f"{label[:200]!r} has {len(parts)}"
            )
        return cls(parts[0], tuple(parts[1:-1]), parts[-1])

    @property
    def key(self) -> str:
        return ";".join(self.levels)

    @property
    def level(self) -> str | None:
        """The finest level that is known, a word of ``LEVELS``; None for no taxon, such as a vehicle."""
        known = [level for level, name in zip(LEVELS, self.levels, strict=True) if name]
        return None if not known or self.common_name == _NO_RESULT else known[-1]

    @property
    def scientific_name(self) -> str | None:
        """ "Panthera leo", "Felidae"; None for what is no taxon."""
        if (level := self.level) is None:
            return None
        if level == "species":
            return f"{self.levels[-2].capitalize()} {self.levels[-1]}"
        return self.levels[LEVELS.index(level)].capitalize()
