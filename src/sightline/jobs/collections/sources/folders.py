"""Folders of images: ``in/`` has what belongs to a collection, ``out/`` what does not.

A folder with both is one collection; one whose folders have both is as many.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sightline.collections.records import COLLECTION_NAME
from sightline.errors import InvalidRequest
from sightline.imaging import Picture
from sightline.jobs.collections.embedding import Embedded, Embedding, Supplied
from sightline.jobs.collections.kept_vectors import KeptVectors
from sightline.jobs.collections.plans import Plan
from sightline.jobs.collections.sources import Offer, Report
from sightline.jobs.images import listings
from sightline.jobs.looking import read_image
from sightline.runtime.analyzer import Analyzer

INSIDE, OUTSIDE = "in", "out"


@dataclass(frozen=True, slots=True)
class Folders:
    """``name`` is the collection's id where ``folder`` itself is one; None: the folder's own name."""

    folder: Path
    analyzer: Analyzer
    plan: Plan
    kept: KeptVectors
    name: str | None = None

    async def offers(self) -> list[Offer]:
        """See ``Source``."""
        return await asyncio.to_thread(lambda: list(self._offers()))

    async def examples(self, offer: Offer, report: Report) -> Embedded:
        """See ``Source``."""
        report("looking for images", 0, None)
        folder = self._folder_of(offer.collection)
        supplied = await asyncio.to_thread(lambda: list(self._supplied(folder)))
        embedding = Embedding(self.analyzer, offer.plan, self.kept)
        return await embedding.examples(supplied, lambda done, total: report("embedding", done, total))

    def _offers(self) -> Iterator[Offer]:
        if _is_collection(self.folder):
            name = self.name or self.folder.resolve().name
            if not re.fullmatch(COLLECTION_NAME, name):
                raise InvalidRequest(
                    f"{name[:100]!r} cannot be a collection's id; name one with --collection"
                )
            yield Offer(name, plan=self.plan)
            return
        folders = sorted(path for path in self.folder.iterdir() if _is_collection(path))
        if not folders:
            raise InvalidRequest(
                f"{self.folder} has no folders {INSIDE}/ and {OUTSIDE}/, nor have the folders in it"
            )
        for path in folders:
            fits = re.fullmatch(COLLECTION_NAME, path.name)
            problem = "" if fits else "this cannot be a collection's id; give the folder another name"
            yield Offer(path.name, plan=self.plan, problem=problem)

    def _folder_of(self, collection: str) -> Path:
        return self.folder if _is_collection(self.folder) else self.folder / collection

    def _supplied(self, folder: Path) -> Iterator[Supplied]:
        for part, inside in ((INSIDE, True), (OUTSIDE, False)):
            for listing in listings(folder / part, recursive=True):
                if listing.error is not None:
                    yield self._unreadable(listing.folder, inside, listing.error)
                for name in listing.links:
                    yield self._unreadable(
                        listing.folder / name, inside, OSError("a linked folder is skipped")
                    )
                for image in listing:
                    yield self._file(image.path, folder, inside)

    def _file(self, path: Path, folder: Path, inside: bool) -> Supplied:
        async def read() -> Picture:
            picture: Picture = await self.analyzer.engine.work(self._open, path)
            return picture

        return Supplied(str(path.relative_to(folder)), inside, read)

    def _open(self, path: Path) -> Picture:
        return self.analyzer.open(read_image(str(path), self.analyzer.limits.max_bytes))

    def _unreadable(self, path: Path, inside: bool, error: OSError) -> Supplied:
        async def read() -> Picture:
            raise InvalidRequest(f"cannot be read: {error.strerror or error}")

        return Supplied(str(path), inside, read)


def _is_collection(folder: Path) -> bool:
    return (folder / INSIDE).is_dir() and (folder / OUTSIDE).is_dir()
