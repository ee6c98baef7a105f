"""Which parts of a multipart form are files, also where a client does not say so as browsers do."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from python_multipart.multipart import parse_options_header
from starlette.formparsers import MultiPartException, MultiPartParser

# RFC 5987: charset'language'percent-encoded. RFC 7578 forbids it in forms; some clients send nothing else.
_EXTENDED_NAME = re.compile(
    rb";\s*filename\*\s*=\s*\"?(?P<charset>utf-8|iso-8859-1)'[^']*'(?P<name>[^\";\s]*)", re.IGNORECASE
)


class FormParts(MultiPartParser):
    """Starlette's parser, to which a part with an image's type or with only ``filename*`` is a file too.

    To Starlette these are text, so an image would be decoded as UTF-8, or refused for its size.
    """

    def on_headers_finished(self) -> None:
        part = self._current_part
        disposition = part.content_disposition or b""
        if b"filename" not in parse_options_header(disposition)[1]:
            name = _extended_name(disposition)
            if name is None and _is_binary(dict(part.item_headers).get(b"content-type", b"")):
                name = b""
            if name is not None:
                quoted = name.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
                part.content_disposition = disposition + b'; filename="' + quoted + b'"'
        super().on_headers_finished()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._current_part
        if part.file is None and len(part.data) + end - start > self.max_part_size:
            raise MultiPartException(
                f"the text field {part.field_name[:50]!r} has more than {self.max_part_size} bytes; a file "
                "needs a filename, or an image's Content-Type"
            )
        super().on_part_data(data, start, end)


def reason(error: MultiPartException) -> str:
    """What the parser found, which Starlette's own message leaves out."""
    return f"{error.message} ({error.__cause__})" if error.__cause__ else error.message


def _extended_name(disposition: bytes) -> bytes | None:
    found = _EXTENDED_NAME.search(disposition)
    if found is None:
        return None
    name = unquote_to_bytes(found["name"])
    # The parser reads names as UTF-8.
    return name if found["charset"].lower() == b"utf-8" else name.decode("latin-1").encode()


def _is_binary(content_type: bytes) -> bool:
    kind = content_type.partition(b";")[0].strip().lower()
    return kind.startswith(b"image/") or kind == b"application/octet-stream"
