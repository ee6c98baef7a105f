"""A folder with files that wait for a decision, and judges that decide as they are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from koopserver.pdf import pdf
from koopserver.pictures import picture
from rig import LIMITS, CountingClassifier
from stored import MONDAY

from sightline.imaging.pdf import PdfLimits
from sightline.jobs.koop.archive.contents import kind_of
from sightline.jobs.koop.lifecycle import Item, ItemKind, ItemState
from sightline.jobs.koop.run.classifier import Classifier, PageLimits
from sightline.jobs.koop.run.decisions import Decisions
from sightline.jobs.koop.run.options import Options
from sightline.jobs.koop.store.blobs import Blobs
from sightline.jobs.koop.store.counts import Counts
from sightline.jobs.koop.store.documents import Documents
from sightline.jobs.koop.store.files import KeptFiles
from sightline.jobs.koop.store.locks import KeyedLock
from sightline.jobs.koop.store.results import Classification, PageResult, Results
from sightline.jobs.koop.store.state import State

MAP = picture("map", 1, "png", (160, 110))
SIGN = picture("sign", 1, "png", (48, 48))
TWO_PAGES = pdf("text", "map", seed=3)
THREE_PAGES = pdf("text", "map", "map", seed=3)
PAGES = PageLimits(PdfLimits(), 50.0, 60.0)


class SecondPages(CountingClassifier):
    """Wants the second page of everything that has pages."""

    async def judge(self, data: bytes, sha256: str) -> Classification:
        self.seen.append(sha256)
        verdicts = tuple(PageResult(n, "maps", 0.9, {"maps": 0.9}, n == 2) for n in (1, 2))
        return Classification(sha256, self.model, 2, verdicts)


class Wanting(CountingClassifier):
    """Wants these pages of documents, and all images."""

    def __init__(self, *pages: int, model: str = "counting") -> None:
        super().__init__(model, wants=lambda data: True)
        self.pages = pages

    async def judge(self, data: bytes, sha256: str) -> Classification:
        found = await super().judge(data, sha256)
        verdicts = [replace(each, would_download=each.page in (0, *self.pages)) for each in found.verdicts]
        return replace(found, verdicts=tuple(verdicts))


class Failing(CountingClassifier):
    def __init__(self, error: Exception) -> None:
        super().__init__("failing")
        self.error = error

    async def judge(self, data: bytes, sha256: str) -> Classification:
        raise self.error


class Bench:
    """A folder with files that wait for a decision."""

    def __init__(self, root: Path, state: State) -> None:
        self.root = root
        self.state = state
        self.documents = Documents(state)
        self.counts = Counts(state)
        self.kept = KeptFiles(state)
        self.blobs = Blobs(root)
        self.blobs.prepare()

    def fetched(self, data: bytes, name: str = "a") -> Item:
        mime, extension = kind_of(data)
        sha256 = self.blobs.digest(data)
        item = Item(
            f"https://host/{name}", ItemKind.ILLUSTRATION, ItemState.FETCHED, sha256=sha256,
            num_bytes=len(data), mime=mime, file=self.blobs.put(data, sha256, extension),
        )  # fmt: skip
        self.documents.save(item)
        return item

    def settling(self, judge: Classifier | None, *, pages: PageLimits = PAGES, **options: Any) -> Decisions:
        chosen = Options(MONDAY, MONDAY, **options)
        return Decisions(self.state, self.blobs, judge, KeyedLock(), chosen, pages, LIMITS)

    async def settled(self, item: Item, judge: Classifier | None, **options: Any) -> Item:
        await self.settling(judge, **options).settle(item)
        return self.documents.item(item.url)

    def found(self, item: Item) -> Classification:
        """By which an item was decided."""
        found = Results(self.state).find(item.sha256 or "", item.model or "")
        assert found is not None
        return found

    def files(self) -> set[str]:
        return {
            str(each.relative_to(self.root)) for each in (self.root / "blobs").rglob("*") if each.is_file()
        }


def wants(*wanted: bytes) -> Callable[[bytes], bool]:
    return lambda data: data in wanted
