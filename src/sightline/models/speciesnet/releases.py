"""Where the files of SpeciesNet's releases are published.

The three releases have one network: the same file, by its digest. Labels, taxonomy and rules about countries
moved between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sightline.weights.sources import ArchiveMember, HubFile, Source

_KAGGLE: Final = "https://www.kaggle.com/api/v1/models/google/speciesnet/pyTorch/{version}/1/download"
_STEM: Final = "always_crop_99710272_22x8_v12_epoch_00148"
# Public mirrors of two of the three; the third is only at Kaggle.
_MIRRORS: Final = {
    "v4.0.1a": "Addax-Data-Science/SPECIESNET-v4-0-1-A-v1",
    "v4.0.2a": "Addax-Data-Science/SPECIESNET-v4-0-2-A",
}


@dataclass(frozen=True, slots=True)
class Release:
    """One release: ``dated`` and ``geofence`` are what its file names have before the suffix."""

    version: str
    dated: str
    geofence_dated: str

    @property
    def classifier(self) -> tuple[Source, ...]:
        mirrors = tuple(HubFile(repo, f"{_STEM}.pt") for repo in _MIRRORS.values())
        return (*mirrors, self._archived(f"{_STEM}.pt"))

    @property
    def labels(self) -> tuple[Source, ...]:
        return self._published(f"{_STEM}.labels{self.dated}.txt")

    @property
    def taxonomy(self) -> tuple[Source, ...]:
        return self._published(f"taxonomy_release{self.dated}.txt")

    @property
    def geofence(self) -> tuple[Source, ...]:
        return self._published(f"geofence_release{self.geofence_dated}.json")

    def _published(self, name: str) -> tuple[Source, ...]:
        mirror = _MIRRORS.get(self.version)
        archived = self._archived(name)
        return (archived,) if mirror is None else (HubFile(mirror, name), archived)

    def _archived(self, name: str) -> ArchiveMember:
        return ArchiveMember(_KAGGLE.format(version=self.version), name)


RELEASES: Final = (
    Release("v4.0.1a", "", ".2025.02.27.0702"),
    Release("v4.0.2a", ".20251208", ".20251208"),
    Release("v4.0.3a", ".20260609", ".20260609"),
)
