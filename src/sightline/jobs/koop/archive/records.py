"""One publication as the search describes it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import date
from typing import Any

from lxml import etree

from sightline.jobs.koop.archive.markup import Element, first_text, local_name, named, texts

_EXTERNAL_ID = re.compile(r"exb-\d{4}-\d+")


@dataclass(frozen=True, slots=True)
class AttachmentName:
    """A document that belongs to a publication and lies elsewhere; ``filename`` is its author's word."""

    filename: str
    exb_id: str


@dataclass(frozen=True, slots=True)
class Record:
    """What the search says about one publication.

    Attributes:
        identifier: such as ``gmb-2023-174296``; unique.
        types: the rubrics; one or more.
        creator: the authority that published it.
        available: day of publication.
        modified: day of the record's last change.
        changed_at: moment of its last change, as the archive writes it.
        type_verkeersbesluit: what is decided, in the archive's own terms.
        sign_codes: codes of traffic signs, such as ``C1``.
        page_url: the page for readers.
        xml_url: the publication's text; None for publications that are a PDF and nothing else.
        unreadable_attachments: attachment entries without a proper id, as written.
        sha256: digest of what the record says, to tell whether it changed.
    """

    identifier: str
    title: str
    types: tuple[str, ...]
    creator: str | None
    available: date | None
    modified: date | None
    changed_at: str | None
    type_verkeersbesluit: tuple[str, ...]
    sign_codes: tuple[str, ...]
    page_url: str | None
    xml_url: str | None
    html_url: str | None
    pdf_url: str | None
    attachments: tuple[AttachmentName, ...]
    unreadable_attachments: tuple[str, ...]
    sha256: str


def read_record(data: Element) -> Record | None:
    """The record inside a ``recordData`` element; None if it has no identifier.

    Elements are known by their local names, whatever namespaces they are in: the archive has changed those.
    """
    identifier = first_text(data, "identifier")
    if identifier is None:
        return None
    urls = _item_urls(data)
    attachments = [read_attachment_name(text) for text in texts(data, "externeBijlage")]
    return Record(
        identifier=identifier,
        title=first_text(data, "title") or identifier,
        types=tuple(dict.fromkeys(texts(data, "type"))),
        creator=first_text(data, "creator"),
        available=_day(first_text(data, "available")),
        modified=_day(first_text(data, "modified")),
        changed_at=first_text(data, "datumTijdstipWijzigingExpression") or first_text(data, "timestamp"),
        type_verkeersbesluit=tuple(dict.fromkeys(texts(data, "typeVerkeersbesluit"))),
        sign_codes=tuple(dict.fromkeys(texts(data, "verkeersbordcode"))),
        page_url=first_text(data, "preferredUrl"),
        xml_url=urls.get("xml"),
        html_url=urls.get("html"),
        pdf_url=urls.get("pdf"),
        attachments=tuple(dict.fromkeys(name for name in attachments if isinstance(name, AttachmentName))),
        unreadable_attachments=tuple(name for name in attachments if isinstance(name, str)),
        sha256=_digest(data),
    )


def written(record: Record) -> str:
    """A record as JSON."""
    return json.dumps(dataclasses.asdict(record), default=date.isoformat, ensure_ascii=False)


def read_written(text: str) -> Record:
    """What :func:`written` made of a record."""
    fields: dict[str, Any] = json.loads(text)
    for name in ("available", "modified"):
        fields[name] = fields[name] and date.fromisoformat(fields[name])
    for name in ("types", "type_verkeersbesluit", "sign_codes", "unreadable_attachments"):
        fields[name] = tuple(fields[name])
    fields["attachments"] = tuple(AttachmentName(**each) for each in fields["attachments"])
    return Record(**fields)


def read_attachment_name(text: str) -> AttachmentName | str:
    """``filename|exb-YYYY-N`` taken apart at the last bar, for names may hold bars; else ``text`` itself."""
    filename, _, exb_id = text.rpartition("|")
    if not _EXTERNAL_ID.fullmatch(exb_id.strip().lower()):
        return text
    return AttachmentName(filename.strip(), exb_id.strip().lower())


def _item_urls(data: Element) -> dict[str, str]:
    """The first URL of each manifestation; ``url`` stands in where the record lists none of its kind."""
    urls: dict[str, str] = {}
    for item in named(data, "itemUrl"):
        text = (item.text or "").strip()
        if text:
            urls.setdefault((item.get("manifestation") or "").lower(), text)
    main = first_text(data, "url")
    if main is not None:
        suffix = main.rpartition(".")[2].lower()
        if suffix in ("xml", "html", "pdf"):
            urls.setdefault(suffix, main)
    return urls


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat((text or "")[:10])
    except ValueError:
        return None


def _digest(data: Element) -> str:
    """Of names, attributes and texts, whatever the prefixes; the moment of indexing does not count."""
    digest = hashlib.sha256()
    for element in data.iterdescendants(etree.Element):
        if local_name(element) != "timestamp":
            text = " ".join((element.text or "").split())
            digest.update(repr((element.tag, sorted(element.attrib.items()), text)).encode())
    return digest.hexdigest()
