"""The publications: which there are on a day, and what is in each, from a seed and nothing else.

Nothing is stored, so a century costs no more than a day. An identifier says its day and number, and so leads
back to its publication: ``gmb-2024-1530007`` is the seventh of the 153rd day of 2024.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from koopserver.pdf import pdf
from koopserver.pictures import picture

TRAFFIC = "verkeersbesluit of -mededeling"
# Numbers of a day's publications that are no traffic decisions begin here.
OTHERS_FROM = 9000
STANDARD_ANNEXES = 3
# A day the real archive is known to have 95 traffic decisions of.
KNOWN_DAY = date(2023, 10, 27)
KNOWN_COUNT = 95
_TOWNS = ("Teststad", "Voorbeeldrecht", "Proefdam", "Modelburg", "Schetsveen")
_STREETS = ("Voorbeeldlaan", "Proefweg", "Fixturestraat", "Stubkade", "Regressieplein", "Seedsingel")
_MEASURES = (
    "plaatsing of verwijdering van verkeerstekens",
    "tijdelijke verkeersmaatregel van langere duur dan 4 maanden",
    "aanwijzen parkeerplaats voor het opladen van elektrische voertuigen",
)
_SIGNS = ("C1", "E6", "E8c", "G11")

PerDay = int | Mapping[date, int] | Callable[[date], int]


@dataclass(frozen=True, slots=True)
class Illustration:
    """A picture above a publication's title (``in_head``) or in its text. ``status`` 404: it is gone."""

    name: str
    content: Callable[[], bytes]
    width: str = "160mm"
    height: str = "110mm"
    alt: str = ""
    in_head: bool = False
    text_before: str = ""
    status: int = 200


@dataclass(frozen=True, slots=True)
class Attachment:
    """An external attachment. ``label`` and ``suffix`` differ by age; a listing may be missing or broken."""

    filename: str
    exb_id: str
    content: Callable[[], bytes]
    label: str = "bijlage"
    suffix: str = ".pdf"
    listing_status: int = 200

    @property
    def item(self) -> str:
        return self.exb_id + self.suffix


@dataclass(frozen=True, slots=True)
class Decision:
    """One publication. ``available`` is the index's, whatever the record says."""

    identifier: str
    available: date
    modified: date
    title: str
    creator: str
    measure: str
    sign: str
    types: tuple[str, ...] = (TRAFFIC,)
    illustrations: tuple[Illustration, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    manifestations: tuple[str, ...] = ("html", "metadata", "metadataowms", "odt", "pdf", "xml")
    says_available: bool = True
    default_namespace: bool = False
    byte_order_mark: bool = False
    capitals: bool = False
    entity_bomb: bool = False

    @property
    def year(self) -> str:
        return self.identifier.split("-")[1]

    @property
    def number(self) -> str:
        return self.identifier.split("-")[2]


Alteration = Callable[[Decision], Decision]


@dataclass
class Archive:
    """All publications between two dates.

    Args:
        per_day: traffic decisions on a day: a number, a function, or a number per date; other dates then
            have none but ``KNOWN_DAY``.
        others_per_day: publications of other kinds on a day that has decisions.
    """

    seed: int = 1
    per_day: PerDay = 3
    others_per_day: int = 1
    first: date = date(2013, 1, 1)
    last: date = date(2040, 12, 31)
    _alterations: list[tuple[re.Pattern[str], Alteration]] = field(default_factory=list)

    def alter(self, pattern: str, alteration: Alteration) -> None:
        """Change every publication whose identifier is matched from its start."""
        self._alterations.append((re.compile(pattern), alteration))

    def count(self, day: date) -> int:
        if not self.first <= day <= self.last:
            return 0
        if callable(self.per_day):
            return self.per_day(day)
        if isinstance(self.per_day, Mapping):
            return self.per_day.get(day, KNOWN_COUNT if day == KNOWN_DAY else 0)
        return self.per_day

    def of_day(self, day: date) -> Iterator[Decision]:
        count = self.count(day)
        for number in range(1, count + 1):
            yield self._made(day, number)
        if count:
            for number in range(OTHERS_FROM, OTHERS_FROM + self.others_per_day):
                yield self._made(day, number)

    def between(self, first: date, last: date) -> Iterator[Decision]:
        day = max(first, self.first)
        while day <= min(last, self.last):
            yield from self.of_day(day)
            day += timedelta(days=1)

    def find(self, identifier: str) -> Decision | None:
        """The publication of that identifier, if its day has so many."""
        found = re.fullmatch(r"gmb-(\d{4})-(\d{3})(\d{4})", identifier)
        if found is None:
            return None
        year, day_of_year, number = map(int, found.groups())
        if not 1 <= year <= 9998:
            return None
        day = date(year, 1, 1) + timedelta(days=day_of_year - 1)
        count = self.count(day)
        is_other = count > 0 and 0 <= number - OTHERS_FROM < self.others_per_day
        return self._made(day, number) if 1 <= number <= count or is_other else None

    def find_attachment(self, exb_id: str) -> Attachment | None:
        found = re.fullmatch(r"exb-(\d{4})-(\d{7})\d", exb_id)
        if found is None:
            return None
        decision = self.find(f"gmb-{found[1]}-{found[2]}")
        if decision is None:
            return None
        return next((each for each in decision.attachments if each.exb_id == exb_id), None)

    def _made(self, day: date, number: int) -> Decision:
        decision = self._seeded(day, number)
        for pattern, alteration in self._alterations:
            if pattern.match(decision.identifier):
                decision = alteration(decision)
        return decision

    def _seeded(self, day: date, number: int) -> Decision:
        numbers = random.Random(f"{self.seed}/{day}/{number}")
        identifier = f"gmb-{day.year}-{day.timetuple().tm_yday:03d}{number:04d}"
        street, town = numbers.choice(_STREETS), numbers.choice(_TOWNS)
        is_traffic = number < OTHERS_FROM
        return Decision(
            identifier=identifier,
            available=day,
            modified=day + timedelta(days=numbers.choice((0, 0, 0, numbers.randrange(1, 20)))),
            title=f"{street} {numbers.randrange(1, 200)}, verkeersmaatregelen gemeente {town}",
            creator=town,
            measure=numbers.choice(_MEASURES),
            sign=numbers.choice(_SIGNS),
            types=(TRAFFIC,) if is_traffic else ("omgevingsvergunning",),
            illustrations=tuple(_illustrations(identifier, numbers)) if is_traffic else (),
            attachments=tuple(_attachments(identifier, numbers, self.seed)) if is_traffic else (),
        )


def _illustrations(identifier: str, numbers: random.Random) -> Iterator[Illustration]:
    """A logo above six of ten; then none, one or two pictures: maps, aerial views and small signs."""
    position = 1
    if numbers.random() < 0.6:
        yield _illustration(identifier, position, "logo", numbers, in_head=True)
        position += 1
    for _ in range(numbers.choice((0, 1, 1, 2))):
        yield _illustration(identifier, position, numbers.choice(("map", "map", "aerial", "sign")), numbers)
        position += 1


def _illustration(
    identifier: str, position: int, kind: str, numbers: random.Random, *, in_head: bool = False
) -> Illustration:
    seed, file_format = numbers.randrange(2**31), "png" if kind != "aerial" else "jpg"
    size = {"sign": (48, 48), "logo": (80, 30)}.get(kind, (160, 110))
    return Illustration(
        name=f"{identifier}-{position}.{file_format}",
        content=lambda: picture(kind, seed, file_format, size),
        width={"sign": "15mm", "logo": "4.00cm"}.get(kind, "160mm"),
        height={"sign": "15mm", "logo": "1.57cm"}.get(kind, "110mm"),
        alt="Logo van de gemeente" if kind == "logo" else "",
        in_head=in_head,
        text_before={"map": "Situatie op de kaart", "aerial": "Luchtfoto van de locatie"}.get(kind, "Bord"),
    )


def _attachments(identifier: str, numbers: random.Random, seed: int) -> Iterator[Attachment]:
    """Four of ten have one or two; a quarter of those are an annex that many share byte for byte."""
    if numbers.random() >= 0.4:
        return
    _, year, number = identifier.split("-")
    for position in range(1, numbers.choice((1, 1, 2)) + 1):
        if numbers.random() < 0.25:
            content = standard_annex(numbers.randrange(STANDARD_ANNEXES), seed)
        else:
            content = _own_pdf(
                numbers.choice((("map",), ("text", "map"), ("text",))), numbers.randrange(2**31)
            )
        yield Attachment(f"Bijlage {position} bij besluit.pdf", f"exb-{year}-{number}{position}", content)


def standard_annex(which: int, seed: int = 1) -> Callable[[], bytes]:
    """One of the few PDFs that are attached to many decisions."""
    return _own_pdf(("text", "map"), seed * 100 + which)


def _own_pdf(pages: tuple[str, ...], seed: int) -> Callable[[], bytes]:
    return lambda: pdf(*pages, seed=seed)
