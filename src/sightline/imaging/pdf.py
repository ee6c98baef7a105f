"""Untrusted PDF bytes to pixels, page by page, drawn by pdfium in a process that may die without harm.

    with open_pdf(data, PdfLimits()) as pdf:
        for number in pdf.numbers:
            page = pdf.render(number, dpi=100)  # an ImageError is about this page alone

Everything blocks: call it from a worker thread. Only the pixels of pages come out; a document's scripts are
not run, its attachments and links not followed.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from sightline.errors import ConfigurationError, ImageTooLarge, InvalidImage, UnsupportedImage
from sightline.imaging import pdf_renderer
from sightline.imaging.raster import Pixels

MIB = 1024 * 1024

# A PDF begins with this, within its first kilobyte (PDF 32000-1, implementation note 13).
_MAGIC, _MAGIC_WITHIN = b"%PDF-", 1024
# Starting Python and pdfium on a busy machine.
_START_S = 20.0
# What a Python process needs to find its libraries. Keys and tokens in the environment stay here.
_ENVIRONMENT = (
    "HOME", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH", "SYSTEMROOT", "TEMP", "TMP", "VIRTUAL_ENV",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PdfLimits:
    """Limits of one PDF; all inclusive.

    A page that would be larger than ``max_page_pixels`` or ``max_side`` is drawn at fewer dots per inch: an
    A0 drawing has 140 megapixels at 300. ``document_timeout_s`` is the time of all its pages together.
    ``max_memory_bytes`` bounds the drawing process, where the system can.
    """

    max_bytes: int = 100 * MIB
    max_pages: int = 50
    max_page_pixels: int = 50_000_000
    max_side: int = 30_000
    page_timeout_s: float = 20.0
    document_timeout_s: float = 120.0
    max_memory_bytes: int = 1024 * MIB


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """A page on white paper: uint8 [height, width, 3], read-only. ``number`` counts from 1.

    ``dpi`` is what it was drawn at, which is less than was asked for where a limit says so.
    """

    number: int
    pixels: Pixels
    dpi: float


class DrawingEnded(InvalidImage):
    """Drawing took too long, or ended its process. It may not on a machine with less to do."""


def is_pdf(data: bytes) -> bool:
    """Whether bytes claim to be a PDF."""
    return _MAGIC in data[:_MAGIC_WITHIN]


def open_pdf(data: bytes, limits: PdfLimits | None = None) -> Pdf:
    """Start a process on a PDF and count its pages. Use the result as a context manager.

    Raises:
        UnsupportedImage: no PDF, or one locked with a password.
        ImageTooLarge: more bytes than the limits allow.
        InvalidImage: empty, truncated, damaged, without pages, or too much for the limits to read.
        ConfigurationError: the process does not start.
    """
    limits = limits or PdfLimits()
    if not data:
        raise InvalidImage("The PDF is empty: no bytes were received.")
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"The PDF has {len(data)} bytes; at most {limits.max_bytes} are accepted.")
    if not is_pdf(data):
        raise UnsupportedImage("This is not a PDF: it does not begin with %PDF-.")
    return Pdf(data, limits)


class Pdf:
    """A PDF whose pages can be drawn, one at a time. Made by :func:`open_pdf`; threads wait for each other.

    A page that ends the drawing process costs only itself: the next one gets a new process.
    """

    def __init__(self, data: bytes, limits: PdfLimits) -> None:
        self._data = data
        self._limits = limits
        self._left_s = limits.document_timeout_s
        self._process: _Process | None = None
        self._lock = threading.Lock()
        self._closed = False
        self.num_pages = self._start()

    def __enter__(self) -> Pdf:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, from any thread; a page that is being drawn fails."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None

    @property
    def numbers(self) -> range:
        """The pages that may be drawn: from 1 to the last one, or to ``max_pages``."""
        return range(1, min(self.num_pages, self._limits.max_pages) + 1)

    def render(self, number: int, dpi: float) -> RenderedPage:
        """Draw one page.

        Args:
            number: from 1.
            dpi: dots per inch; 72 is a pixel per point.

        Raises:
            InvalidImage: no such page, damaged, or without area.
            DrawingEnded: it took too long, or needed too much memory.
            ImageTooLarge: past the pages or the time that one document gets.
            ValueError: ``dpi`` is not more than 0, or the PDF was closed.
        """
        limits = self._limits
        if not (dpi > 0 and math.isfinite(dpi)):
            raise ValueError(f"dpi must be more than 0, got {dpi}")
        if not 1 <= number <= self.num_pages:
            raise InvalidImage(f"The PDF has {self.num_pages} pages and no page {number}.")
        if number not in self.numbers:
            raise ImageTooLarge(
                f"Page {number} of the PDF is past the {limits.max_pages} pages drawn of one document."
            )
        with self._lock:
            return self._drawn(number, dpi)

    def _drawn(self, number: int, dpi: float) -> RenderedPage:
        limits = self._limits
        if self._closed:
            raise ValueError("the PDF was closed")
        if self._process is None:
            self._start()
        question = pdf_renderer.QUESTION.pack(number, dpi, limits.max_page_pixels, limits.max_side)
        code, width, height, stride, drawn_dpi = self._ask(question, limits.page_timeout_s, f"page {number}")
        if code == pdf_renderer.NO_AREA:
            raise InvalidImage(f"Page {number} of the PDF has no area.")
        if code != pdf_renderer.OK:
            raise InvalidImage(f"Page {number} of the PDF is damaged and cannot be drawn.")
        return RenderedPage(number, self._pixels(number, width, height, stride), drawn_dpi)

    def _start(self) -> int:
        """A new process; gives the number of pages."""
        self._process = _Process(self._limits)
        if self._process.exchange(b"", 1, _START_S) != pdf_renderer.HELLO:
            self._end()
            raise ConfigurationError(
                "the process that draws PDFs does not start: pypdfium2 is not installed, or "
                f"{self._limits.max_memory_bytes // MIB} MiB of memory are too little"
            )
        message = pdf_renderer.LENGTH.pack(len(self._data)) + self._data
        code, num_pages, *_ = self._ask(message, self._limits.page_timeout_s, "reading it")
        if code == pdf_renderer.OK:
            return num_pages
        self._end()
        if code == pdf_renderer.LOCKED:
            raise UnsupportedImage("The PDF is locked with a password; send one that opens without.")
        if code == pdf_renderer.NO_PAGES:
            raise InvalidImage("The PDF has no pages.")
        raise InvalidImage("The PDF is truncated or damaged and cannot be opened.")

    def _ask(self, message: bytes, timeout_s: float, what: str) -> tuple[int, int, int, int, float]:
        answer = self._exchange(message, pdf_renderer.ANSWER.size, timeout_s, what)
        code, width, height, stride, dpi = pdf_renderer.ANSWER.unpack(answer)
        return code, width, height, stride, dpi

    def _exchange(self, message: bytes, num_bytes: int, timeout_s: float, what: str) -> bytes:
        """Return the answer of the process. Raise an error with the reason if the process died."""
        assert self._process is not None
        if self._left_s <= 0:
            raise ImageTooLarge(
                f"The PDF took all of the {self._limits.document_timeout_s:g} s that one document gets."
            )
        allowed_s = min(timeout_s, self._left_s)
        started = time.monotonic()
        answer = self._process.exchange(message, num_bytes, allowed_s)
        taken_s = time.monotonic() - started
        self._left_s -= taken_s
        if len(answer) == num_bytes:
            return answer
        self._end()
        if taken_s >= allowed_s:
            raise DrawingEnded(f"Drawing the PDF ({what}) took longer than {allowed_s:.3g} s.")
        raise DrawingEnded(
            f"Drawing the PDF ({what}) failed: it is damaged, or needs more memory than the "
            f"{self._limits.max_memory_bytes // MIB} MiB it gets."
        )

    def _pixels(self, number: int, width: int, height: int, stride: int) -> Pixels:
        """Return the data after an answer. Its figures are checked: a PDF may control the process."""
        limits = self._limits
        possible = 0 < width <= limits.max_side and 0 < height <= limits.max_side
        if (
            not possible
            or width * height > limits.max_page_pixels
            or not 3 * width <= stride <= 4 * width + 8
        ):
            self._end()
            raise InvalidImage(f"Page {number} of the PDF cannot be drawn.")
        data = self._exchange(b"", stride * height, limits.page_timeout_s, f"page {number}")
        rows = np.frombuffer(data, np.uint8).reshape(height, stride)
        pixels = np.ascontiguousarray(rows[:, : 3 * width]).reshape(height, width, 3)
        pixels.flags.writeable = False
        return pixels


class _Process:
    """``pdf_renderer`` at work."""

    def __init__(self, limits: PdfLimits) -> None:
        max_cpu_s = math.ceil(_START_S + limits.document_timeout_s)
        script = Path(pdf_renderer.__file__)
        # -P: the script's folder has modules of ours that must not stand in for others.
        command = [sys.executable, "-P", str(script), str(limits.max_memory_bytes), str(max_cpu_s)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        )

    def exchange(self, message: bytes, num_bytes: int, timeout_s: float) -> bytes:
        """Send ``message``, read ``num_bytes``; fewer come if the process dies, or is killed for its time."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(timeout_s, process.kill)
        timer.daemon = True
        timer.start()
        try:
            process.stdin.write(message)
            process.stdin.flush()
            return process.stdout.read(num_bytes)
        except OSError:  # a broken pipe
            return b""
        finally:
            timer.cancel()

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:  # what was not sent yet
                continue
        self._process.wait()
