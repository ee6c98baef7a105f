"""JSON of requests: bounded before it is parsed, and parsed off the event loop where it is large."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import pydantic_core
from starlette.requests import Request

from sightline.errors import InvalidRequest

MAX_JSON_DEPTH = 32
# A training has 1,000 images of two values each. Python needs some 100 bytes for a value: 10 MB in all.
MAX_JSON_VALUES = 100_000
# Above this many bytes a body is read on another thread.
LARGE_BYTES = 64 * 1024
# Counted in pieces, so that the event loop gets its turn in between.
_PIECE_BYTES = 64 * 1024

ReadT = TypeVar("ReadT")


async def read_json(request: Request, reading: Callable[[Any], ReadT]) -> ReadT:
    """Return what ``reading`` makes of the JSON in the body. A large one is read on a thread.

    Raises:
        InvalidRequest: see :func:`parse_json`; and whatever ``reading`` raises.
    """
    # Not body(), which would keep the text for as long as the request takes.
    data = b"".join([piece async for piece in request.stream()])
    if len(data) <= LARGE_BYTES:
        return reading(parse_json(data))

    def read() -> ReadT:
        return reading(parse_json(data))

    return await asyncio.to_thread(read)


def parse_json(data: bytes | str) -> Any:
    """Parse JSON without NaN and infinities, of at most 32 levels and 100,000 values.

    Raises:
        InvalidRequest: it does not parse; the message says where.
    """
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    # A byte order mark, which Windows' editors and .NET's encoders put in front.
    data = data.removeprefix(b"\xef\xbb\xbf")
    if _has_more_values(data, MAX_JSON_VALUES):
        raise InvalidRequest(f"the JSON has too many values; expected at most {MAX_JSON_VALUES}")
    try:
        value = pydantic_core.from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequest(f"the JSON does not parse: {error}") from None
    if _deeper_than(value, MAX_JSON_DEPTH):
        raise InvalidRequest(f"the JSON is nested more than {MAX_JSON_DEPTH} levels deep")
    return value


def _has_more_values(data: bytes, most: int) -> bool:
    """Whether JSON text has more than ``most`` values, keys not counted.

    Outside of strings each value but the first follows a comma or an opening bracket; a string is a key or a
    value. Text that is not JSON is judged as if it were, by a count that no parser exceeds.
    """
    values, strings, in_string, rest = 1, 0, False, b""
    for start in range(0, len(data), _PIECE_BYTES):
        piece = rest + data[start : start + _PIECE_BYTES]
        rest = b""
        if piece.endswith(b"\\") and (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece, rest = piece[:-1], b"\\"  # what it escapes comes with the next piece
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        outside = b"".join(parts[in_string::2])
        values += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        strings += len(parts) // 2
        in_string ^= len(parts) % 2 == 0
        if values > most or strings > 2 * most:
            return True
    return False


def _deeper_than(value: Any, levels: int) -> bool:
    children: Iterable[Any] = ()
    if isinstance(value, dict):
        children = value.values()
    elif isinstance(value, list):
        children = value
    else:
        return False
    return levels == 0 or any(_deeper_than(child, levels - 1) for child in children)
