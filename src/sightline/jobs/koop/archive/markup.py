"""XML of strangers, read strictly and known by local names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeAlias

from lxml import etree

from sightline.errors import DocumentRefused
from sightline.jobs.koop.polite import BadDocument

Element: TypeAlias = etree._Element
_ENTITY = re.compile(rb"<!\s*ENTITY", re.IGNORECASE)
_SHOWN_CHARACTERS = 120


def parse(data: bytes, *roots: str) -> Element:
    """The root element of ``data``, which must be whole, well-formed and named one of ``roots`` (if any).

    Bytes, because a document says its own encoding and may begin with a byte order mark.

    Raises:
        BadDocument: empty, cut short, no XML, or another root: a web page, most likely.
        DocumentRefused: it declares entities, which no document of an archive does and every bomb must.
    """
    if not data.strip():
        raise BadDocument("the answer is empty")
    if _ENTITY.search(data):
        raise DocumentRefused("the document declares entities, which is how XML bombs are made")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, recover=False)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        said = str(error)[:_SHOWN_CHARACTERS]
        raise BadDocument(f"the answer is {_kind(data)} ({said})") from None
    declared = root.getroottree().docinfo.internalDTD
    if declared is not None and next(declared.iterentities(), None) is not None:
        raise DocumentRefused("the document declares entities, which is how XML bombs are made")
    if roots and local_name(root).lower() not in {name.lower() for name in roots}:
        raise BadDocument(f"the answer is a <{local_name(root)[:40]}> instead of a <{roots[0]}>")
    return root


def local_name(element: Element) -> str:
    """The element's name without prefix and namespace; empty for comments and the like."""
    tag: Any = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def named(root: Element, name: str) -> Iterator[Element]:
    """Elements below ``root`` with this local name, in whatever namespace, in document order."""
    found: Iterator[Element] = root.iterdescendants(f"{{*}}{name}")
    return found


def children(root: Element, name: str) -> list[Element]:
    """Elements right below ``root`` with this local name."""
    return list(root.iterchildren(f"{{*}}{name}"))


def texts(root: Element, name: str) -> list[str]:
    """The texts of these elements, spaces collapsed; those without text are left out."""
    found = (" ".join("".join(element.itertext()).split()) for element in named(root, name))
    return [text for text in found if text]


def first_text(root: Element, name: str) -> str | None:
    return next(iter(texts(root, name)), None)


def _kind(data: bytes) -> str:
    return "a web page" if b"<html" in data[:2048].lower() else "no whole XML document"
