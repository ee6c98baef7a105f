"""From the archive to this machine: what a publication has, and the bytes of it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from functools import partial

from sightline.errors import ArchiveError, DocumentGone, DocumentRefused, SightlineError
from sightline.jobs.describing import RunEnded
from sightline.jobs.koop.archive.attachments import AttachmentItem, find_attachment, listing_url
from sightline.jobs.koop.archive.contents import kind_of, require_attachment, require_pdf, require_picture
from sightline.jobs.koop.archive.publication import (
    MAX_PICTURES,
    Illustration,
    Publication,
    illustration_url,
    read_publication,
)
from sightline.jobs.koop.archive.records import Record
from sightline.jobs.koop.lifecycle import (
    Confirmed,
    Effect,
    Fetched,
    FetchFailed,
    Item,
    ItemKind,
    Policy,
    transition,
)
from sightline.jobs.koop.polite import Document, PoliteClient, Unchanged
from sightline.jobs.koop.run.options import Options
from sightline.jobs.koop.store.blobs import Blobs
from sightline.jobs.koop.store.documents import Documents, Placement, StoredPublication
from sightline.jobs.koop.store.folder import disk_trouble_ends_the_run
from sightline.jobs.koop.store.locks import KeyedLock

_log = logging.getLogger(__name__)

_EXTERNAL_ID = re.compile(r"exb-\d{4}-\d+")


class Fetcher:
    """Fetches for one run.

    Args:
        locks: of whoever touches files by their digest.
    """

    def __init__(
        self, client: PoliteClient, documents: Documents, blobs: Blobs, locks: KeyedLock, options: Options
    ) -> None:
        self._client = client
        self._documents = documents
        self._blobs = blobs
        self._locks = locks
        self._options = options
        self._policy = Policy(options.keep, options.dry_run)

    async def read(self, publication: StoredPublication) -> None:
        """Find out which items a publication has. It is complete afterwards, or failed with the reason."""
        record = publication.record
        notes = [f"no attachment: {text[:100]!r}" for text in record.unreadable_attachments]
        placements: list[Placement] = []
        failure: ArchiveError | str | None = None
        try:
            if record.xml_url is not None:
                url = self._address(record, record.xml_url, "xml")
                found = await self._client.fetch_as(url, _as_publication, max_bytes=self._options.max_bytes)
                placements += (self._illustration(record, each) for each in found.illustrations)
                notes += (f"no plain file name: {name!r}" for name in found.refused)
                if found.left_out:
                    notes.insert(
                        0, f"{found.left_out} pictures more than the first {MAX_PICTURES} in its text"
                    )
            elif record.pdf_url is not None:
                url = self._address(record, record.pdf_url, "pdf")
                placements.append(Placement(url, ItemKind.PDF, f"{record.identifier}.pdf"))
                notes.append("it is a PDF and has no text")
            else:
                failure = "the record names neither a text nor a PDF"
        except ArchiveError as error:
            failure = error
        placements += self._attachments(record)
        self._documents.place(
            record.identifier,
            placements,
            failure=None if failure is None else str(failure),
            is_gone=isinstance(failure, DocumentGone),
            note="; ".join(notes[:5]) or None,
        )

    async def fetch(self, item: Item) -> Item:
        """Get an item's bytes; it is fetched afterwards, gone, or failed with the reason.

        Raises:
            RunEnded: nothing can be written any more.
        """
        try:
            document = await self._document(item)
        except RunEnded:
            raise
        except SightlineError as error:
            status = error.status if isinstance(error, ArchiveError) else None
            failed = FetchFailed(str(error), status, isinstance(error, DocumentGone))
            item = transition(item, failed, self._policy).item
            self._documents.save(item)
            return item
        return await self._filed(item, document)

    async def renew(self, before: Item) -> Item:
        """Ask whether what is known of an item is still so. If it is, nothing changes. If there is another
        file now, that is fetched afterwards, and the one before stays until it is settled. If there is none
        any more, the one before stays for good.

        Raises:
            RunEnded: nothing can be written any more.
            SightlineError: it cannot be known; the item is as it was.
        """
        try:
            document = await self._document(before, known=before)
        except Unchanged:
            return before
        except DocumentGone as error:
            _log.info("%s stays as it was: %s", before.url, error)
            return before
        if await asyncio.to_thread(self._blobs.digest, document.body) != before.sha256:
            return await self._filed(before, document, replaces=True)
        item = transition(before, Confirmed(document.url, document.etag), self._policy).item
        self._documents.save(item)
        return item

    async def _filed(self, before: Item, document: Document, *, replaces: bool = False) -> Item:
        """Store the bytes that came for an item."""
        mime, extension = kind_of(document.body)
        sha256 = await asyncio.to_thread(self._blobs.digest, document.body)
        async with self._locks.take(sha256):
            with disk_trouble_ends_the_run(self._blobs.root):
                file = await asyncio.to_thread(self._blobs.put, document.body, sha256, extension)
            fetched = Fetched(
                document.url, sha256, len(document.body), mime, document.etag, file, replaces=replaces
            )
            change = transition(before, fetched, self._policy)
            if Effect.PRESERVE in change.effects:
                self._documents.supersede(before, change.item)
            else:
                self._documents.save(change.item)
        return change.item

    async def _document(self, item: Item, known: Item | None = None) -> Document:
        """Raises Unchanged: it is still that of the ``known`` item."""
        url, reader = item.url, require_pdf if item.kind is ItemKind.PDF else require_picture
        if item.kind is ItemKind.ATTACHMENT:
            (exb_id,) = _EXTERNAL_ID.findall(item.url)[-1:]
            found = await find_attachment(self._client, self._options.attachments_at, exb_id)
            url, reader = found.url, partial(require_attachment, name=found.name)
            _require_size(found, self._options.max_bytes)
        etag = known.etag if known is not None and known.source_url == url else None
        return await self._client.fetch_as(url, reader, max_bytes=self._options.max_bytes, etag=etag)

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


def _as_publication(document: Document) -> Publication:
    return read_publication(document.body)
