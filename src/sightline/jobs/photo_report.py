"""One HTML file about a run over many photos: small copies, answers, a filter and sorting."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from sightline.errors import ImageError
from sightline.imaging import Picture, encode_jpeg, resize
from sightline.jobs.looking import Seen
from sightline.jobs.writing import replacing
from sightline.runtime.analyzer import Status

_THUMBNAIL_SIDE, _QUALITY = 200, 80
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif }
body { margin: 1.5rem } h1 { font-size: 1.4rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #8888 }
th button { font: inherit; font-weight: 600; background: none; border: 0; padding: 0; color: inherit }
td { overflow-wrap: anywhere; white-space: pre-line } img { max-width: 200px; display: block }
input { font: inherit; padding: .3rem .5rem; width: 22rem; max-width: 100% }
.error { color: light-dark(#b3261e, #ffb4ab) }
"""
# Sorts by the column whose head is clicked, numbers as numbers. Shows rows that have all words of the filter.
_SCRIPT = """
const body = document.querySelector("tbody"), count = document.getElementById("count");
const filter = document.getElementById("filter");
function show() {
  const words = filter.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let shown = 0;
  for (const row of body.rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    shown += !row.hidden;
  }
  count.textContent = `${shown} of ${body.rows.length} photos`;
}
filter.addEventListener("input", show);
document.querySelectorAll("th button").forEach((button, column) => button.addEventListener("click", () => {
  const order = button.dataset.order === "up" ? -1 : 1;
  button.dataset.order = order === 1 ? "up" : "down";
  const value = (row) => row.cells[column].textContent.trim();
  const compare = new Intl.Collator(undefined, { numeric: true }).compare;
  body.append(...[...body.rows].sort((one, other) => order * compare(value(one), value(other))));
}));
show();
"""


class PhotoReport:
    """Writes the file photo by photo. It appears when the block ends, or stays as it was if the block fails.

    Args:
        tasks: ids of the tasks, a column each.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, tasks: Sequence[str]) -> None:
        self._tasks = list(tasks)
        self._replacing = replacing(path)

    def __enter__(self) -> Self:
        self._file: BinaryIO = self._replacing.__enter__()
        script = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
        heads = "".join(
            f'<th scope="col"><button type="button">{html.escape(name)}</button></th>'
            for name in ("Photo", "Name", *self._tasks)
        )
        self._write(
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
            f"style-src 'unsafe-inline'; script-src 'sha256-{script}'\">\n"
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            "<title>Sightline report</title>\n"
            f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>Sightline report</h1>\n"
            '<p><label>Show photos with these words <input id="filter" type="search"></label> '
            '<span id="count"></span></p>\n'
            f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write(f"</tbody>\n</table>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n")
        self._replacing.__exit__(kind, error, trace)

    def add(self, seen: Seen, answers: Mapping[str, str]) -> None:
        """Write the row of one photo. ``answers``: by task, in words."""
        cells = [_image(seen), html.escape(seen.source or "")]
        if seen.error is not None:
            cells.append(f'<span class="error">{html.escape(str(seen.error))}</span>')
            cells += [""] * (len(self._tasks) - 1)
        else:
            failed = {outcome.id for outcome in seen.outcomes if outcome.status is Status.ERROR}
            for task in self._tasks:
                text = html.escape(answers.get(task, ""))
                cells.append(f'<span class="error">{text}</span>' if task in failed else text)
        self._write("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n")

    def _write(self, text: str) -> None:
        self._file.write(text.encode("utf-8", "backslashreplace"))


def _image(seen: Seen) -> str:
    """A small copy as a data URI; nothing for a photo that does not decode."""
    if seen.picture is None:
        return ""
    try:
        data = base64.b64encode(_thumbnail(seen.picture)).decode("ascii")
    except ImageError:
        return ""
    return f'<img alt="" src="data:image/jpeg;base64,{data}">'


def _thumbnail(picture: Picture) -> bytes:
    scale = min(1.0, _THUMBNAIL_SIDE / max(picture.width, picture.height))
    width, height = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return encode_jpeg(resize(picture.reduced(min(width, height)), width, height), _QUALITY)
