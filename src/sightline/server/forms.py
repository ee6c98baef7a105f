"""Multipart forms, read whole or refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from urllib.parse import parse_qsl

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from sightline.errors import InsufficientStorage, InvalidRequest
from sightline.server.form_parts import FormParts, reason

# Limits of facts that are not images; the table in docs/limits.md names their source.
MAX_FORM_FIELDS = 32
MAX_FIELD_BYTES = 64 * 1024
# RFC 7578 knows UTF-8 alone; clients also write these two, by names that IANA or Python have for them.
CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "iso8859-1", "latin-1", "latin1"})


@asynccontextmanager
async def read_form(
    request: Request, max_files: int, max_field_bytes: int = MAX_FIELD_BYTES
) -> AsyncIterator[FormData]:
    """The multipart form, within the limits for parts that are not images. Leaving removes its files.

    Raises:
        InvalidRequest: it does not parse, ends early, is in another charset, or has too many or large parts.
        InsufficientStorage: a file of it cannot be stored.
    """
    kind = _kind(request)
    if kind == b"multipart/form-data":
        form = await _read_multipart(request, max_files, max_field_bytes)
    elif kind == b"application/x-www-form-urlencoded":
        form = await _read_urlencoded(request, min(max_field_bytes, MAX_FIELD_BYTES))
    else:
        form = FormData()
    try:
        yield form
    finally:
        with suppress(OSError):
            await form.close()


def _kind(request: Request) -> bytes:
    """The form's media type.

    Starlette decodes names and fields by any codec of Python's that the header names: some raise what it
    does not catch, some give lone surrogates, which no JSON can hold, and one takes quadratic time.

    The header is read by the function that Starlette reads it with, or another charset could hide from one of
    the two. A name that is not ours is never looked up: Python keeps each it was asked for.
    """
    kind, parameters = parse_options_header(request.headers.get("content-type"))
    charset = parameters.get(b"charset", b"utf-8").decode("latin-1")
    if kind == b"multipart/form-data" and charset.lower().replace("_", "-") not in CHARSETS:
        raise InvalidRequest(
            f"the form's charset is {charset[:50]!r}; UTF-8, US-ASCII and ISO-8859-1 are read here"
        )
    return kind


class _Parser(FormParts):
    """The parser, which also knows whether the closing boundary came.

    Without that a form that was cut off passes for a shorter one: other tasks would run than were sent.
    """

    ended = False

    def on_end(self) -> None:
        self.ended = True

    def close_files(self) -> None:
        for file in self._files_to_close_on_error:
            with suppress(OSError):  # closing writes what is still buffered, and the disk is full
                file.close()


async def _read_multipart(request: Request, max_files: int, max_field_bytes: int) -> FormData:
    async with aclosing(request.stream()) as stream:
        parser = _Parser(
            request.headers,
            _without_preamble(stream, _boundary(request)),
            max_files=max_files,
            max_fields=MAX_FORM_FIELDS,
            max_part_size=max_field_bytes,
        )
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise InvalidRequest(f"the form does not parse: {reason(error)}") from None
        except OSError as error:
            parser.close_files()
            raise InsufficientStorage(
                "the server's temporary folder cannot store the upload; send it again later"
            ) from error
    if not parser.ended:
        parser.close_files()
        raise InvalidRequest("the form is incomplete: its closing boundary is missing")
    return form


def _boundary(request: Request) -> bytes:
    _, parameters = parse_options_header(request.headers.get("content-type"))
    return parameters.get(b"boundary", b"")


async def _without_preamble(stream: AsyncIterator[bytes], boundary: bytes) -> AsyncGenerator[bytes, None]:
    """The form from its first boundary on. RFC 2046, 5.1.1, allows text before it, which is ignored."""
    first, passed = b"\r\n--" + boundary, False
    before = b"\r\n"  # as if a line had ended: the boundary may be the very first
    async for piece in stream:
        if passed:
            yield piece
            continue
        before += piece
        found = before.find(first)
        if found >= 0:
            passed = True
            yield before[found + 2 :]
        else:
            before = before[-len(first) :]


async def _read_urlencoded(request: Request, max_bytes: int) -> FormData:
    """A urlencoded form, which has no files.

    Starlette's parser takes a second of the event loop for each megabyte of ``&``.
    """
    data = b""
    async for piece in request.stream():
        data += piece
        if len(data) > max_bytes:
            raise InvalidRequest(f"a urlencoded form may have {max_bytes} bytes; send multipart/form-data")
    text = data.decode("utf-8", "replace")
    try:
        fields = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        raise InvalidRequest(f"the form has more than {MAX_FORM_FIELDS} fields") from None
    return FormData(list(fields))
