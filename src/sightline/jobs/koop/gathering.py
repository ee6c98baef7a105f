"""From the archive to this machine: what a publication has, and the bytes of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace

from sightline.errors import ArchiveError, DocumentGone, DocumentRefused, ImageError, SightlineError
from sightline.fetching.polite import BadDocument, Document, PoliteClient
from sightline.imaging.formats import Format, sniff
from sightline.imaging.pdf import is_pdf
from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.attachments import AttachmentItem, find_attachment, listing_url
from sightline.jobs.koop.blobs import Blobs
from sightline.jobs.koop.documents import (
    Documents,
    Item,
    ItemKind,
    ItemState,
    Placement,
    StoredPublication,
)
from sightline.jobs.koop.folder import disk_trouble_ends_the_run
from sightline.jobs.koop.options import Options
from sightline.jobs.koop.publication import Illustration, Publication, illustration_url, read_publication
from sightline.jobs.koop.records import Record
from sightline.jobs.koop.turns import Turns
from sightline.jobs.koop.verdicts import PDF_TYPE

_EXTERNAL_ID = re.compile(r"exb-\d{4}-\d+")
_EXTENSIONS = {Format.JPEG: "jpg", Format.TIFF: "tif", Format.HEIF: "heic"}
_UNKNOWN = "application/octet-stream"


class Gathering:
    """Fetches for one run.

    Args:
        turns: of whoever touches files by their digest.
    """

    def __init__(
        self, client: PoliteClient, documents: Documents, blobs: Blobs, turns: Turns, options: Options
    ) -> None:
        self._client = client
        self._documents = documents
        self._blobs = blobs
        self._turns = turns
        self._options = options

    async def read(self, publication: StoredPublication) -> None:
        """Find out which items a publication has. It is complete afterwards, or failed with the reason."""
        record = publication.record
        notes = [f"no attachment: {text[:100]!r}" for text in record.unreadable_attachments]
        placements: list[Placement] = []
        failure: str | None = None
        try:
            if record.xml_url is not None:
                url = self._address(record, record.xml_url, "xml")
                found = await self._client.fetch_as(url, _as_publication, max_bytes=self._options.max_bytes)
                placements += (self._illustration(record, each) for each in found.illustrations)
                notes += (f"no plain file name: {name!r}" for name in found.refused)
            elif record.pdf_url is not None:
                url = self._address(record, record.pdf_url, "pdf")
                placements.append(Placement(url, ItemKind.PDF, f"{record.identifier}.pdf"))
                notes.append("it is a PDF and has no text")
            else:
                failure = "the record names neither a text nor a PDF"
        except ArchiveError as error:
            failure = str(error)
        placements += self._attachments(record)
        note = "; ".join(notes[:5]) or None
        self._documents.place(record.identifier, placements, failure=failure, note=note)

    async def fetch(self, item: Item) -> Item:
        """Get an item's bytes; it is fetched afterwards, gone, or failed with the reason.

        Raises:
            RunEnded: nothing can be written any more.
        """
        item = replace(item, attempts=item.attempts + 1)
        try:
            document = await self._document(item)
        except RunEnded:
            raise
        except SightlineError as error:
            state = ItemState.GONE if isinstance(error, DocumentGone) else ItemState.FAILED
            status = error.status if isinstance(error, ArchiveError) else None
            item = replace(item, state=state, http=status, error=str(error))
            self._documents.save(item)
            return item
        return await self._filed(item, document)

    async def _filed(self, item: Item, document: Document) -> Item:
        mime, extension = kind_of(document.body)
        sha256 = await asyncio.to_thread(self._blobs.digest, document.body)
        async with self._turns.take(sha256):
            with disk_trouble_ends_the_run(self._blobs.root):
                file = await asyncio.to_thread(self._blobs.put, document.body, sha256, extension)
            item = replace(
                item,
                state=ItemState.FETCHED,
                source_url=document.url,
                http=200,
                sha256=sha256,
                num_bytes=len(document.body),
                mime=mime,
                etag=document.etag,
                file=file,
                error=None,
            )
            self._documents.save(item)
        return item

    async def _document(self, item: Item) -> Document:
        url, reader = item.url, _as_file
        if item.kind is ItemKind.ATTACHMENT:
            (exb_id,) = _EXTERNAL_ID.findall(item.url)[-1:]
            found = await find_attachment(self._client, self._options.attachments_at, exb_id)
            url, reader = found.url, _as_anything
            _require_size(found, self._options.max_bytes)
        return await self._client.fetch_as(url, reader, max_bytes=self._options.max_bytes)

    def _address(self, record: Record, said: str, extension: str) -> str:
        """Of a publication's text or PDF, which is the same on both hosts."""
        if self._options.from_repository:
            return said
        return f"{self._options.reader_at.rstrip('/')}/{record.identifier}.{extension}"

    def _illustration(self, record: Record, found: Illustration) -> Placement:
        page = f"{self._options.reader_at.rstrip('/')}/{record.identifier}.html"
        return Placement(
            url=illustration_url(page, found.name),
            kind=ItemKind.ILLUSTRATION,
            name=found.name,
            caption_before=found.text_before or None,
            width_mm=found.width_mm,
            in_head=found.is_logo,
            caption=found.caption or None,
            alt=found.alt or None,
            height_mm=found.height_mm,
        )

    def _attachments(self, record: Record) -> Iterator[Placement]:
        for each in record.attachments:
            url = listing_url(self._options.attachments_at, each.exb_id)
            yield Placement(url, ItemKind.ATTACHMENT, each.filename)


def _require_size(found: AttachmentItem, max_bytes: int) -> None:
    if found.size_bytes is not None and found.size_bytes > max_bytes:
        raise DocumentRefused(
            f"{found.url} is announced with {found.size_bytes} bytes; SIGHTLINE_KOOP_FILE_MAX_BYTES allows "
            f"{max_bytes}"
        )


def kind_of(data: bytes) -> tuple[str, str]:
    """Media type and extension of a file, by its content."""
    if is_pdf(data):
        return PDF_TYPE, "pdf"
    try:
        found = sniff(data)
    except ImageError:
        return _UNKNOWN, "bin"
    return f"image/{found.value}", _EXTENSIONS.get(found, found.value)


def _as_publication(document: Document) -> Publication:
    return read_publication(document.body)


def _as_file(document: Document) -> Document:
    """Raises BadDocument: it is a web page, which hosts send with status 200 when they are not well."""
    if not document.body:
        raise BadDocument("an empty answer came instead of a file")
    if document.body.lstrip()[:1] == b"<" and b"<html" in document.body[:1000].lower():
        raise BadDocument("a web page came instead of a file")
    return document


def _as_anything(document: Document) -> Document:
    """Raises BadDocument: it is empty. An attachment may well be a web page."""
    if not document.body:
        raise BadDocument("an empty answer came instead of a file")
    return document
