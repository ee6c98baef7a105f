"""Records, items and days for tests of what is kept."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import replace
from typing import Any

from sightline.jobs.koop.archive.records import AttachmentName, Record
from sightline.jobs.koop.lifecycle import Item, ItemKind, ItemState
from sightline.jobs.koop.store.documents import Documents, Placement
from sightline.jobs.koop.store.results import WHOLE, Classification, PageResult, Results
from sightline.jobs.koop.store.state import Day, DayState, State

MONDAY = dt.date(2024, 1, 15)
ONE_DAY = dt.timedelta(days=1)
MODEL = "first-model"


def record(identifier: str = "gmb-2024-1", **changes: Any) -> Record:
    usual = Record(
        identifier=identifier,
        title=f"Besluit {identifier} é & <b>",
        types=("verkeersbesluit of -mededeling", "besluit"),
        creator="Teststad",
        available=MONDAY,
        modified=None,
        changed_at="2024-01-15T10:00:00",
        type_verkeersbesluit=("plaatsing",),
        sign_codes=("C1", "E6"),
        page_url=f"https://reader.example/{identifier}.html",
        xml_url=f"https://archive.example/{identifier}.xml",
        html_url=None,
        pdf_url=None,
        attachments=(AttachmentName("a|b.pdf", "exb-2024-1"),),
        unreadable_attachments=("odd",),
        sha256=hashlib.sha256(identifier.encode()).hexdigest(),
    )
    return replace(usual, **changes)


def placement(name: str, **changes: Any) -> Placement:
    usual = Placement(
        f"https://reader.example/{name}", ItemKind.ILLUSTRATION, name, "Kaart", 160.0,
        caption="Locatie", alt="Kaart van de wijk", height_mm=90.0,
    )  # fmt: skip
    return replace(usual, **changes)


def judgement(sha256: str, *, wanted: bool = True, model: str = MODEL, pages: int = 0) -> Classification:
    share = {"maps": 0.75 if wanted else 0.25, "miscellaneous": 0.25 if wanted else 0.75}
    label = "maps" if wanted else "miscellaneous"
    numbers = range(1, pages + 1) if pages else [WHOLE]
    verdicts = tuple(PageResult(number, label, 0.75, share, wanted) for number in numbers)
    return Classification(sha256, model, pages, verdicts)


def sha256_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def ended_day(
    state: State, date: dt.date, names: dict[str, list[str]], /, *, wanted: bool = True, **changes: Any
) -> None:
    """A complete day with these publications and pictures, each judged and kept, or rejected."""
    documents = Documents(state)
    documents.add(date, [record(each, available=date) for each in names])
    for identifier, pictures in names.items():
        documents.place(identifier, [placement(each) for each in pictures])
        for each in pictures:
            sha256 = sha256_of(each)
            Results(state).save(judgement(sha256, wanted=wanted))
            documents.save(
                Item(
                    f"https://reader.example/{each}", ItemKind.ILLUSTRATION,
                    ItemState.KEPT if wanted else ItemState.REJECTED,
                    source_url=f"https://reader.example/{each}", http=200, sha256=sha256, num_bytes=7,
                    mime="image/png", file=f"blobs/{each}" if wanted else None, model=MODEL,
                )
            )  # fmt: skip
    number = len(names)
    day = Day(date, "available", DayState.COMPLETE, number, number, completed_at="2024-02-01", whole=True)
    state.save_day(replace(day, **changes))
