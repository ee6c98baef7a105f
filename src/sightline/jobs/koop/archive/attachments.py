"""Documents that belong to a publication and lie on a host of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from sightline.errors import DocumentGone, DocumentRefused
from sightline.jobs.koop.archive.markup import Element, children, first_text, parse
from sightline.jobs.koop.polite import BadDocument, PoliteClient

_LABEL = re.compile(r"(?!\.{1,2}$)[^/\\\x00-\x1f\x7f]{1,255}")
# A listing takes less than a kilobyte per file.
_MAX_LISTING_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class AttachmentItem:
    """One file of an attachment. ``size_bytes`` is what the listing says of it alone, if anything."""

    url: str
    name: str
    size_bytes: int | None


def listing_url(base_url: str, exb_id: str) -> str:
    """Where the listing of an attachment lies. ``base_url`` is the folder of all attachments."""
    return f"{base_url.rstrip('/')}/{quote(exb_id, safe='')}/1/"


def read_listing(data: bytes, base_url: str, exb_id: str) -> AttachmentItem | None:
    """The newest file that a listing has and that is not deleted; None if there is none.

    The path differs by age, and a wrong one redirects to itself, so it is built of the listing's own labels.

    Raises:
        BadDocument: cut short, no XML, or of another attachment.
        DocumentRefused: it declares entities, or a label is no plain name.
    """
    work = parse(data, "work")
    if (work.get("label") or "").lower() != exb_id.lower():
        raise BadDocument(f"the listing is of {(work.get('label') or 'nothing')[:40]!r} instead of {exb_id}")
    files = list(_files(work))
    if not files:
        return None
    latest = [each for each in files if "/".join(each.labels) == work.get("_latestItem")]
    chosen = (latest or files)[-1]
    for label in chosen.labels:
        if not _LABEL.fullmatch(label):
            raise DocumentRefused(f"the listing of {exb_id} has a label that is no name: {label[:40]!r}")
    path = "/".join(quote(label, safe="") for label in chosen.labels)
    return AttachmentItem(
        f"{base_url.rstrip('/')}/{quote(exb_id, safe='')}/{path}", chosen.labels[-1], chosen.size_bytes
    )


async def find_attachment(client: PoliteClient, base_url: str, exb_id: str) -> AttachmentItem:
    """Ask the archive where an attachment lies.

    Raises:
        DocumentGone: the archive has no such attachment, or every file of it is deleted.
        DocumentRefused, DocumentUnavailable: see ``PoliteClient.fetch``.
    """
    item = await client.fetch_as(
        listing_url(base_url, exb_id),
        lambda document: read_listing(document.body, base_url, exb_id),
        max_bytes=_MAX_LISTING_BYTES,
    )
    if item is None:
        raise DocumentGone(f"every file of the attachment {exb_id} is deleted")
    return item


@dataclass(frozen=True, slots=True)
class _File:
    """``labels`` are those of its expression, its manifestation and its own."""

    labels: tuple[str, str, str]
    size_bytes: int | None


def _files(work: Element) -> Iterator[_File]:
    """Files that are not deleted, the newest expression's last."""
    for expression in sorted(_kept(work, "expression"), key=_age):
        for manifestation in _kept(expression, "manifestation"):
            size = first_text(manifestation, "size") or ""
            of_one = len(children(manifestation, "item")) == 1
            size_bytes = int(size) if of_one and re.fullmatch(r"[0-9]{1,15}", size) else None
            for item in _kept(manifestation, "item"):
                yield _File((_label(expression), _label(manifestation), _label(item)), size_bytes)


def _kept(parent: Element, name: str) -> list[Element]:
    found = children(parent, name)
    return [each for each in found if (each.get("_deleted") or "").strip().lower() not in ("true", "1")]


def _label(element: Element) -> str:
    return element.get("label") or ""


def _age(expression: Element) -> int:
    return int(_label(expression)) if re.fullmatch(r"[0-9]{1,9}", _label(expression)) else 0
