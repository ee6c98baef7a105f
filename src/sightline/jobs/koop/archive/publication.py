"""The text of a publication, for the pictures in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin

from lxml import etree

from sightline.jobs.koop.archive.markup import Element, local_name, parse
from sightline.jobs.koop.polite import BadDocument

# Elements within a line; all others end it. Both the older publications' and STOP's.
_INLINE = frozenset(
    {"nadruk", "b", "i", "u", "sup", "sub", "extref", "intref", "intioref", "extioref", "inf"}
)
_HEADINGS = frozenset({"kop"})
# Roots of what the archive and its storage have instead.
_OTHER_ROOTS = frozenset({"error", "searchretrieveresponse", "metadata_gegevens"})
_ROOTS = frozenset({"officiele-publicatie", "officielepublicatie"})
# What every text of a publication has some of, in the older schemas and in STOP.
_PARTS = frozenset({"al", "kop", "titel", "tussenkop", "opschrift", "tekst", "lid", "plaatje", "illustratie"})
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_LENGTH = re.compile(r"([0-9]{1,6}(?:[.,][0-9]{1,6})?)\s*(mm|cm|in|pt)", re.IGNORECASE)
_MM = {"mm": 1.0, "cm": 10.0, "in": 25.4, "pt": 25.4 / 72}
# Of one text. The longest real ones have a few hundred, most of them signs.
MAX_PICTURES = 2000
_MAX_TEXT_CHARACTERS = 300
_MAX_REFUSED_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Illustration:
    """A picture in a publication.

    Attributes:
        name: a plain file name; its suffix may be a lie.
        alt: what its author wrote for those who cannot see it.
        caption: what stands under it, if that is marked as such.
        text_before: the end of the text before it, at most 300 characters; often the real caption.
        width_mm: printed width; None where it is not given as a length.
        height_mm: printed height, likewise.
        in_heading: it stands in a heading, as logos do.
    """

    name: str
    alt: str
    caption: str
    text_before: str
    width_mm: float | None
    height_mm: float | None
    in_heading: bool

    @property
    def is_logo(self) -> bool:
        """By its place or by its own words."""
        return self.in_heading or self.alt.lower().startswith("logo")


@dataclass(frozen=True, slots=True)
class Publication:
    """At most :data:`MAX_PICTURES` pictures. ``refused`` are names of pictures that are no plain file names,
    as written (at most 100 characters); ``left_out`` is how many more elements for pictures there are."""

    illustrations: tuple[Illustration, ...]
    refused: tuple[str, ...]
    left_out: int = 0


def read_publication(data: bytes) -> Publication:
    """The pictures of a publication in the order of its text, each name once.

    Raises:
        BadDocument: cut short, or no XML, or no publication but a web page, an error or the like.
        DocumentRefused: it declares entities.
    """
    root = parse(data)
    _require_publication(root)
    illustrations: dict[str, Illustration] = {}
    refused: dict[str, None] = {}
    captions: dict[Element, str] = {}
    pictures = _pictures(root)
    for place, (element, text_before) in enumerate(pictures):
        if len(illustrations) + len(refused) == MAX_PICTURES:
            return Publication(tuple(illustrations.values()), tuple(refused), len(pictures) - place)
        attributes = {etree.QName(key).localname.lower(): value for key, value in element.attrib.items()}
        written = attributes.get("naam", "")
        name = clean_name(written)
        if name is None:
            refused[written[:_MAX_REFUSED_CHARACTERS]] = None
        elif name not in illustrations:
            caption = _caption(element.getparent(), captions)
            illustrations[name] = _illustration(name, element, attributes, caption, text_before)
    return Publication(tuple(illustrations.values()), tuple(refused))


def _require_publication(root: Element) -> None:
    """Raises BadDocument: it is something else, as hosts send it with status 200 when they are not well.

    The schemas of thirty years have too many roots for a list, but each has headings or paragraphs.
    """
    name = local_name(root).lower()
    if name in _ROOTS:
        return
    if name == "html":
        raise BadDocument("the answer is a web page instead of a publication")
    if name in _OTHER_ROOTS or not any(local_name(each).lower() in _PARTS for each in root.iter()):
        raise BadDocument(f"the answer is a <{local_name(root)[:40]}> instead of a publication")


def illustration_url(base_url: str, name: str) -> str:
    """Where the picture ``name`` lies: beside the publication's page, whose URL is ``base_url``.

    ``name`` is a plain file name, so the host is always that of ``base_url``.
    """
    return urljoin(base_url, quote(name, safe=""))


def clean_name(name: str) -> str | None:
    """The file name in ``name`` without folders; None if there is none, or it climbs or names a host."""
    name = name.strip()
    if ".." in name or name.startswith("/"):
        return None
    last = name.rpartition("/")[2]
    # What is before the last slash may be folders, but no scheme and no host.
    folders = name[: len(name) - len(last)]
    if not _NAME.fullmatch(last) or not re.fullmatch(r"(?:[A-Za-z0-9._-]+/)*", folders):
        return None
    return last


def _caption(frame: Element | None, known: dict[Element, str]) -> str:
    """What stands in a frame as its caption. Each is looked through once, however many pictures it has."""
    if frame is None:
        return ""
    if frame not in known:
        found = next((each for each in frame if local_name(each).lower() == "bijschrift"), None)
        text = "" if found is None else " ".join("".join(found.itertext()).split())
        known[frame] = text[:_MAX_TEXT_CHARACTERS]
    return known[frame]


def _illustration(
    name: str, element: Element, attributes: dict[str, str], caption: str, text_before: str
) -> Illustration:
    return Illustration(
        name=name,
        alt=" ".join(attributes.get("alt", "").split())[:_MAX_TEXT_CHARACTERS],
        caption=caption,
        text_before=text_before[-_MAX_TEXT_CHARACTERS:],
        width_mm=_length_mm(attributes.get("breedte", "")),
        height_mm=_length_mm(attributes.get("hoogte", "")),
        in_heading=any(local_name(each).lower() in _HEADINGS for each in element.iterancestors()),
    )


def _pictures(root: Element) -> list[tuple[Element, str]]:
    """Every picture element with the last line of text before it, tags within lines ignored."""
    found: list[tuple[Element, str]] = []
    line: list[str] = []
    last = ""
    for event, element in etree.iterwalk(root, events=("start", "end", "comment", "pi")):
        name = local_name(element).lower()
        if name and name not in _INLINE:
            last = " ".join("".join(line).split()) or last
            line.clear()
        if event == "start":
            if name == "illustratie":
                found.append((element, last))
            line.append(element.text or "")
        else:
            line.append(element.tail or "")
    return found


def _length_mm(text: str) -> float | None:
    match = _LENGTH.fullmatch(text.strip())
    return None if match is None else float(match[1].replace(",", ".")) * _MM[match[2].lower()]
