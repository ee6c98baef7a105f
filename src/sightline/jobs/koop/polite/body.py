"""What came back, read under a cap."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

import httpcore2

# gzip's header and trailer (RFC 1952)
_GZIP = 16 + zlib.MAX_WBITS


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


class Unchanged(Exception):
    """Raised in place of a document that is still the one whose etag was named."""


class TooLarge(Exception):
    """The body is longer than it may be."""


def header(response: httpcore2.Response, name: str) -> str | None:
    """The first header of that name."""
    wanted = name.lower().encode("ascii")
    for key, value in response.headers:
        if key.lower() == wanted:
            return value.decode("latin-1").strip()
    return None


async def read_document(
    response: httpcore2.Response, url: str, max_bytes: int, heard: Callable[[], None]
) -> Document:
    """The body of a good answer. ``heard`` is called for each piece of it.

    Raises:
        TooLarge: it is longer than ``max_bytes``, announced, on the wire or inflated.
        BadDocument: it is shorter than announced, or not what it was compressed as.
        httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException: it broke off.
    """
    encoding = (header(response, "content-encoding") or "identity").lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise BadDocument(f"the answer is encoded as {encoding[:40]}, which was not asked for")
    length = header(response, "content-length")
    if length is not None and int(length) > max_bytes:  # h11 has checked that it is one number
        raise TooLarge
    inflater = None if encoding == "identity" else _Inflater(max_bytes)
    body = bytearray()
    received_bytes = 0
    async with aclosing(response.aiter_stream()) as stream:
        async for piece in stream:
            heard()
            received_bytes += len(piece)
            if received_bytes > max_bytes:
                raise TooLarge
            body += piece if inflater is None else inflater.feed(piece)
    if length is not None and received_bytes != int(length):
        raise BadDocument(f"{received_bytes} of {length} bytes arrived")
    if inflater is not None and received_bytes:
        inflater.finish()
    return Document(
        url=url,
        body=bytes(body),
        media_type=(header(response, "content-type") or "").partition(";")[0].strip().lower(),
        etag=header(response, "etag"),
        last_modified=header(response, "last-modified"),
        received_bytes=received_bytes,
    )


class _Inflater:
    """gzip, never more than a byte past ``max_bytes``, however well it is compressed."""

    def __init__(self, max_bytes: int) -> None:
        self._left_bytes = max_bytes
        self._member = zlib.decompressobj(_GZIP)

    def feed(self, piece: bytes) -> bytes:
        inflated = bytearray()
        while piece:
            try:
                part = self._member.decompress(piece, self._left_bytes + 1)
            except zlib.error as error:
                raise BadDocument(f"the answer is damaged gzip ({error})") from None
            if len(part) > self._left_bytes:
                raise TooLarge
            self._left_bytes -= len(part)
            inflated += part
            piece = self._member.unused_data
            if piece:  # RFC 1952 lets members follow one another
                self._member = zlib.decompressobj(_GZIP)
        return bytes(inflated)

    def finish(self) -> None:
        if not self._member.eof:
            raise BadDocument("the answer is gzip that breaks off")
