"""PDF files written by hand: pages of text, and pages with a drawing made of lines."""

from __future__ import annotations

import random

A4 = (595, 842)


def pdf(*pages: str, seed: int = 0, size: tuple[int, int] = A4) -> bytes:
    """A PDF with a page per word: ``text`` or ``map``. ``size`` in points, 72 to the inch."""
    numbers = random.Random(seed)
    draw = {"text": _text, "map": _drawing}
    return assembled([draw[page](numbers, size) for page in pages], size)


def many_pages(count: int) -> bytes:
    """A PDF of nothing but pages, all with the same few lines of text."""
    return assembled([_text(random.Random(1), A4)] * count, A4)


def assembled(contents: list[str], size: tuple[int, int]) -> bytes:
    """Header, objects, cross-reference table and trailer around the pages' content streams."""
    first = 4
    kids = " ".join(f"{first + 2 * n} 0 R" for n in range(len(contents)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(contents)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, content in enumerate(contents):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {size[0]} {size[1]}] "
            f"/Resources << /Font << /F 3 0 R >> >> /Contents {first + 2 * number + 1} 0 R >>"
        )
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
    body = bytearray(b"%PDF-1.4\n")
    places = []
    for number, each in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{each}\nendobj\n".encode("ascii")
    table = len(body)
    body += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode("ascii")
    body += b"".join(b"%010d 00000 n \n" % place for place in places)
    body += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n".encode(
        "ascii"
    )
    return bytes(body)


def _text(numbers: random.Random, size: tuple[int, int]) -> str:
    lines = (f"Artikel {n}: kenmerk {numbers.randrange(10**6)}" for n in range(1, 13))
    return f"BT /F 12 Tf 14 TL 60 {size[1] - 80} Td " + " ".join(f"({line}) Tj T*" for line in lines) + " ET"


def _drawing(numbers: random.Random, size: tuple[int, int]) -> str:
    width, height = size
    pieces = ["0.95 0.94 0.91 rg", f"20 20 {width - 40} {height - 40} re f"]
    for _ in range(8):
        red, green, blue = (numbers.uniform(0.6, 0.95) for _ in range(3))
        pieces.append(f"{red:.2f} {green:.2f} {blue:.2f} rg")
        pieces.append(f"{numbers.randrange(20, width - 90)} {numbers.randrange(20, height - 90)} 60 50 re f")
    pieces.append("6 w 1 1 1 RG")
    ends = [(numbers.randrange(20, height), numbers.randrange(20, height)) for _ in range(6)]
    pieces += (f"20 {left} m {width - 20} {right} l S" for left, right in ends)
    pieces.append("4 w 0.8 0.1 0.1 RG")
    pieces.append(f"{width // 4} {height // 2} m {width // 2} {numbers.randrange(100, height)} l S")
    return "\n".join(pieces)
