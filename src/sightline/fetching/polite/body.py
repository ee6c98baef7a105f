"""What came back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Document:
    """A whole answer.

    Attributes:
        url: where it came from in the end.
        body: inflated, if it came compressed.
        media_type: the ``Content-Type`` in lower case without its parameters; may be empty, may be a lie.
        etag: as the host wrote it.
        last_modified: as the host wrote it.
        received_bytes: of the body on the wire.
    """

    url: str
    body: bytes
    media_type: str
    etag: str | None
    last_modified: str | None
    received_bytes: int


class BadDocument(Exception):
    """Raised by a reader: this is not the document it should be, and another try may bring it."""
