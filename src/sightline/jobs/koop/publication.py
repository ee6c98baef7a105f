"""The text of a publication, for the pictures in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin

from lxml import etree

from sightline.fetching.polite import BadDocument
from sightline.jobs.koop.markup import Element, local_name, parse

# Elements within a line; all others end it. Both the older publications' and STOP's.
_INLINE = frozenset(
    {"nadruk", "b", "i", "u", "sup", "sub", "extref", "intref", "intioref", "extioref", "inf"}
)
_HEADINGS = frozenset({"kop"})
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_LENGTH = re.compile(r"([0-9]{1,6}(?:[.,][0-9]{1,6})?)\s*(mm|cm|in|pt)", re.IGNORECASE)
_MM = {"mm": 1.0, "cm": 10.0, "in": 25.4, "pt": 25.4 / 72}
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
    """``refused`` are names of pictures that are no plain file names, as written (at most 100 characters)."""

    illustrations: tuple[Illustration, ...]
    refused: tuple[str, ...]


def read_publication(data: bytes) -> Publication:
    """The pictures of a publication in the order of its text, each name once.

    Raises:
        BadDocument: cut short, or no XML, or a web page.
        DocumentRefused: it declares entities.
    """
    root = parse(data)
    if local_name(root).lower() == "html":
        raise BadDocument("the answer is a web page instead of a publication")
    illustrations: dict[str, Illustration] = {}
    refused: dict[str, None] = {}
    for element, text_before in _pictures(root):
        attributes = {etree.QName(key).localname.lower(): value for key, value in element.attrib.items()}
        written = attributes.get("naam", "")
        name = clean_name(written)
        if name is None:
            refused[written[:_MAX_REFUSED_CHARACTERS]] = None
        elif name not in illustrations:
            illustrations[name] = _illustration(name, element, attributes, text_before)
    return Publication(tuple(illustrations.values()), tuple(refused))


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


def _illustration(name: str, element: Element, attributes: dict[str, str], text_before: str) -> Illustration:
    frame = element.getparent()
    captions = [each for each in ([] if frame is None else frame) if local_name(each).lower() == "bijschrift"]
    return Illustration(
        name=name,
        alt=" ".join(attributes.get("alt", "").split())[:_MAX_TEXT_CHARACTERS],
        caption=" ".join("".join(captions[0].itertext()).split())[:_MAX_TEXT_CHARACTERS] if captions else "",
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
