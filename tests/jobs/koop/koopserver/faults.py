"""What goes wrong on the way. A fault locks the answer there would have been into the one that is sent."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import replace

from koopserver.documents import entity_bomb_doctype
from koopserver.records import diagnostic as sru_diagnostic
from koopserver.records import diagnostic_12
from koopserver.wire import Request, Response

Fault = Callable[[Request, Response], Response]

HTML = ("Content-Type", "text/html; charset=UTF-8")
XML = ("Content-Type", "application/xml;charset=UTF-8")


def html_page(title: str) -> bytes:
    """Well-formed, so that only its root tells it from the XML that was wanted."""
    return (
        f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{title}</title></head>'
        f"<body><h1>{title}</h1><p>Probeer het later opnieuw.</p></body></html>"
    ).encode()


def status(code: int, *headers: tuple[str, str]) -> Fault:
    """An error status with a page of HTML."""
    return lambda request, response: Response(html_page(f"Fout {code}"), code, (HTML, *headers))


def too_many(retry_after: str | None = None) -> Fault:
    """429, as the real hosts without Retry-After unless one is given: seconds, a date, or nonsense."""
    return status(429, *((("Retry-After", retry_after),) if retry_after is not None else ()))


def not_found(request: Request, response: Response) -> Response:
    return Response(html_page("Pagina niet gevonden"), 404, (HTML,))


def empty(request: Request, response: Response) -> Response:
    """200 and nothing in it, as large pages have come back."""
    return replace(response, body=b"", headers=_plain(response))


def html(request: Request, response: Response) -> Response:
    """A well-formed page of HTML under 200, still said to be XML."""
    return Response(html_page("Onderhoud"), 200, (XML,))


def tag_soup(request: Request, response: Response) -> Response:
    """HTML under 200 that no XML parser takes."""
    return Response(b"<html><body><p>Onderhoud<br>tot 12 uur</body>", 200, (HTML,))


def cut(part: float = 0.6) -> Fault:
    """The body ends early and Content-Length agrees: only its content can tell."""

    def fault(request: Request, response: Response) -> Response:
        body = _decoded(response)
        return replace(response, body=body[: int(len(body) * part)], headers=_plain(response))

    return fault


def short(part: float = 0.6) -> Fault:
    """The body ends, with the connection, before the bytes that Content-Length promised."""

    def fault(request: Request, response: Response) -> Response:
        return replace(
            response, body=response.body[: int(len(response.body) * part)], length=len(response.body)
        )

    return fault


def reset(after_bytes: int = 0) -> Fault:
    """The connection is reset within the body."""
    return lambda request, response: replace(response, reset_after=after_bytes)


def slow_first_byte(seconds: float) -> Fault:
    return lambda request, response: replace(response, first_byte_after_s=seconds)


def drip(piece_bytes: int, pause_s: float) -> Fault:
    """The body comes a few bytes at a time."""
    return lambda request, response: replace(response, piece_bytes=piece_bytes, piece_pause_s=pause_s)


def bad_gzip(request: Request, response: Response) -> Response:
    """Said to be gzip, and broken in the middle."""
    packed = bytearray(gzip.compress(_decoded(response)))
    middle = len(packed) // 2
    packed[middle : middle + 8] = bytes(each ^ 0xFF for each in packed[middle : middle + 8])
    return replace(response, body=bytes(packed), headers=_encoded(response))


def gzip_bomb(megabytes: int = 300) -> Fault:
    """A small body that unpacks to far more than anything real."""
    packed = gzip.compress(b"\0" * (1024 * 1024), 9) * megabytes
    return lambda request, response: replace(response, body=packed, headers=_encoded(response))


def wrong_charset(request: Request, response: Response) -> Response:
    """Latin-1 bytes that say they are UTF-8."""
    text = _decoded(response).decode().replace("gemeente", "gemeenté")
    return replace(response, body=text.encode("latin-1", "replace"), headers=_plain(response))


def redirect_to(url: str, code: int = 301) -> Fault:
    return lambda request, response: Response(b"", code, (("Location", url),))


def redirect_to_itself(request: Request, response: Response) -> Response:
    return Response(b"", 301, (("Location", request.target),))


def diagnostic(number: int, message: str = "as told", *, version: str = "2.0") -> Fault:
    """A search answered with 200 and an error in it."""
    text = sru_diagnostic(number, message) if version == "2.0" else diagnostic_12(number, message)
    return lambda request, response: Response(text.encode(), 200, (XML,))


def entity_bomb(request: Request, response: Response) -> Response:
    """The answer with a document type whose entity grows to a billion words, used in its first text."""
    text = _decoded(response).decode("utf-8-sig")
    declaration, _, rest = text.partition("?>")
    rest = re.sub(r"(<[^/!?][^>]*[^/]>)(?=[^<]+<)", r"\1&boom;", rest, count=1)
    body = f"{declaration}?>\n{entity_bomb_doctype()}{rest}".encode()
    return replace(response, body=body, headers=_plain(response))


def content(body: bytes, content_type: str = "application/octet-stream") -> Fault:
    """Other bytes than the right ones."""
    return lambda request, response: Response(body, 200, (("Content-Type", content_type),))


def _decoded(response: Response) -> bytes:
    is_packed = ("Content-Encoding", "gzip") in response.headers
    return gzip.decompress(response.body) if is_packed else response.body


def _plain(response: Response) -> tuple[tuple[str, str], ...]:
    return tuple(header for header in response.headers if header[0] != "Content-Encoding")


def _encoded(response: Response) -> tuple[tuple[str, str], ...]:
    return (*_plain(response), ("Content-Encoding", "gzip"))
