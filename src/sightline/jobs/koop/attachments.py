"""Documents that belong to a publication and lie on a host of their own."""

from __future__ import annotations

from dataclasses import dataclass

from sightline.fetching.polite import PoliteClient


@dataclass(frozen=True, slots=True)
class AttachmentItem:
    """One file of an attachment. ``size_bytes`` is what the listing says, if it says anything."""

    url: str
    name: str
    size_bytes: int | None


def listing_url(base_url: str, exb_id: str) -> str:
    """Where the listing of an attachment lies. ``base_url`` is the folder of all attachments."""
    raise NotImplementedError


def read_listing(data: bytes, base_url: str, exb_id: str) -> AttachmentItem | None:
    """The newest file that a listing has and that is not deleted; None if there is none.

    The path differs by age, and a wrong one redirects to itself, so it is built of the listing's own labels.

    Raises:
        BadDocument: cut short, no XML, or of another attachment.
        DocumentRefused: it declares entities, or a label is no plain name.
    """
    raise NotImplementedError


async def find_attachment(client: PoliteClient, base_url: str, exb_id: str) -> AttachmentItem:
    """Ask the archive where an attachment lies.

    Raises:
        DocumentGone: the archive has no such attachment, or every file of it is deleted.
        DocumentRefused, DocumentUnavailable: see ``PoliteClient.fetch``.
    """
    raise NotImplementedError
