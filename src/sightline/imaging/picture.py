"""A picture that passed its checks, and parts of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from threading import Lock

import numpy as np

from sightline.errors import ImageError, ImageTooLarge, InvalidImage
from sightline.imaging import decoding
from sightline.imaging.formats import Format, sniff
from sightline.imaging.headers.tiff import num_pages
from sightline.imaging.isolation import DecodeWorkers, workers
from sightline.imaging.limits import ImageLimits
from sightline.imaging.raster import Pixels, Raster, num_bytes
from sightline.imaging.resizing import cut
from sightline.types import PictureFacts, PixelBox

# A reduced picture keeps at least this many times the short side that was asked for. Measured on six
# photos resized to 224 or less: pixels differ by at most 1.5 levels on average at a margin of 3, 2.4 at 1.5.
# A smaller one would save nothing: a 4000 × 3000 photo takes as long to decode at 1/4 as at 1/8.
_REDUCTION_MARGIN = 3


def open_picture(data: bytes, limits: ImageLimits, *, page: int = 1) -> Picture:
    """Check bytes, content type and header of an untrusted file. No pixel is decoded.

    The format is judged by content alone; names and media types are never looked at.

    Args:
        page: of a TIFF, from 1; see :func:`count_pages`. Other formats have one.

    Raises:
        UnsupportedImage: not one of the formats of :class:`~sightline.imaging.formats.Format`, one that is
            switched off, or a variant that is not decoded.
        ImageTooLarge: a limit is exceeded.
        InvalidImage: empty, a header that makes no sense, or no such page.
    """
    limits.check_bytes(len(data))
    image_format = sniff(data)
    limits.check_format(image_format)
    if page < 1 or (page > 1 and image_format != Format.TIFF):
        raise InvalidImage(f"The {image_format.upper()} image has no page {page}.")
    isolated = workers(limits.decode_workers)
    if isolated is not None and image_format in decoding.READ_BY_LIBRARIES:
        header = isolated.read_header(data, image_format)
    else:
        header = decoding.read_header(data, image_format, page - 1)
    limits.check_size(header.width, header.height)
    width, height = header.upright_size
    facts = PictureFacts(
        format=image_format.value,
        width=width,
        height=height,
        num_bytes=len(data),
        sha256=hashlib.sha256(data, usedforsecurity=False).hexdigest(),
    )
    return Picture(
        data,
        facts,
        header.orientation,
        limits.max_pixels,
        page=page,
        fill=limits.fills_truncated,
        isolated=isolated,
    )


def count_pages(data: bytes, limits: ImageLimits) -> int:
    """Return the number of pages of a TIFF, without thumbnails and masks; 1 for any other image.

    Raises:
        UnsupportedImage, ImageTooLarge, InvalidImage: as :func:`open_picture` for the first page.
    """
    open_picture(data, limits)
    return num_pages(data) if sniff(data) == Format.TIFF else 1


def picture_from_pixels(pixels: Pixels, limits: ImageLimits, *, source: str) -> Picture:
    """A picture that never was an image file, such as a page of a PDF.

    Args:
        pixels: uint8 [height, width, 3], upright; not copied, and not to be written to from now on.
        source: what the facts give as its format. Their digest and number of bytes are of the pixels.

    Raises:
        ImageTooLarge, InvalidImage: the size is past the limits, or nothing.
    """
    height, width = pixels.shape[:2]
    limits.check_size(width, height)
    kept = np.ascontiguousarray(pixels)
    kept.flags.writeable = False
    facts = PictureFacts(
        format=source,
        width=width,
        height=height,
        num_bytes=kept.nbytes,
        sha256=hashlib.sha256(kept.data, usedforsecurity=False).hexdigest(),
    )
    return Picture(b"", facts, orientation=1, max_pixels=limits.max_pixels, decoded=kept)


class Picture:
    """An image file with a good header. Pixels are decoded when first asked for, once, on any thread.

    Made by :func:`open_picture`, or already decoded by :func:`picture_from_pixels`. All sizes and boxes are
    of the upright picture.
    """

    def __init__(
        self,
        data: bytes,
        facts: PictureFacts,
        orientation: int,
        max_pixels: int,
        decoded: Pixels | None = None,
        *,
        page: int = 1,
        fill: bool = False,
        isolated: DecodeWorkers | None = None,
    ) -> None:
        self.facts = facts
        self._data = data
        self._orientation = orientation
        self._max_pixels = max_pixels
        self._page = page
        self._fill = fill
        self._isolated = isolated
        self._is_filled = False
        self._lock = Lock()
        # By reduction. What Pillow decoded becomes an array when somebody asks for one.
        self._decoded: dict[int, Raster] = {} if decoded is None else {1: decoded}
        self._failure: ImageError | None = None

    def __repr__(self) -> str:
        return f"<Picture {self.facts.format} {self.width}×{self.height} {self.facts.sha256[:12]}>"

    @property
    def width(self) -> int:
        return self.facts.width

    @property
    def height(self) -> int:
        return self.facts.height

    @property
    def is_filled(self) -> bool:
        """Whether what was decoded ends early: the rest is grey in a JPEG, black elsewhere.

        False before anything is decoded.
        """
        return self._is_filled

    @property
    def held_bytes(self) -> int:
        """Memory it takes now: the file until all pixels are decoded, and what is decoded."""
        return len(self._data) + sum(num_bytes(raster) for raster in list(self._decoded.values()))

    def rgb(self) -> Pixels:
        """All pixels, uint8 [height, width, 3], read-only.

        Raises:
            InvalidImage: truncated or corrupt. Said again, without another attempt, on every call.
            UnsupportedImage: a variant of the format that is not decoded here.
        """
        return self._pixels(1)

    def reduced(self, short_side: int) -> Pixels:
        """The whole picture, perhaps smaller, for a model that shrinks it to ``short_side`` anyway.

        The shorter side of the result is at least ``short_side`` (or that of the picture, if less). JPEG is
        decoded at 1/2, 1/4 or 1/8 of its size where that leaves a margin; else this is :meth:`rgb`.
        Read-only; raises like :meth:`rgb`.
        """
        return self._pixels(self._reduction(short_side))

    def raster(self, short_side: int) -> Raster:
        """:meth:`reduced` in the form it is in, for ``imaging.resize`` and ``imaging.middle_square``.

        Resizing what Pillow has decoded spares two copies of the whole picture. Raises like :meth:`rgb`.
        """
        with self._lock:
            return self._decode(self._reduction(short_side))

    def crop(self, box: PixelBox) -> Pixels:
        """The pixels of ``box``, uint8 [box.height, box.width, 3], as ``PIL.Image.crop``: outside is black.

        May be a read-only view of the whole picture.

        Raises:
            InvalidImage: the box has no area, or :meth:`rgb` fails.
            ImageTooLarge: the box has more pixels than a picture may have.
        """
        if box.width < 1 or box.height < 1:
            raise InvalidImage(f"The region {box.as_list()} has no area; x_min < x_max and y_min < y_max is.")
        if box.width * box.height > self._max_pixels:
            raise ImageTooLarge(
                f"The region {box.as_list()} has more than {self._max_pixels} pixels, the most accepted."
            )
        return cut(self.rgb(), box.x_min, box.y_min, box.x_max, box.y_max)

    def _reduction(self, short_side: int) -> int:
        if self.facts.format != Format.JPEG or short_side < 1:
            return 1
        short = min(self.width, self.height)
        return next((n for n in (8, 4, 2) if short // n >= _REDUCTION_MARGIN * short_side), 1)

    def _pixels(self, reduction: int) -> Pixels:
        with self._lock:
            raster = self._decode(reduction)
            if isinstance(raster, np.ndarray) and raster.shape[2] == 3:
                return raster
            found = next(key for key, value in self._decoded.items() if value is raster)
            pixels = decoding.pixels_of(raster, Format(self.facts.format))
            self._decoded[found] = pixels
            return pixels

    def _decode(self, reduction: int) -> Raster:
        """Return the stored pixels of the picture or reduction, else decode them. Call it with the lock."""
        if self._failure is not None:
            raise type(self._failure)(str(self._failure))
        whole = self._decoded.get(1)
        raster = self._decoded.get(reduction) if whole is None else whole
        return self._decode_now(reduction) if raster is None else raster

    def _decode_now(self, reduction: int) -> Raster:
        try:
            raster, is_filled = self._decoded_now(reduction)
        except ImageError as error:
            self._failure = error
            raise
        if reduction == 1:
            self._decoded.clear()
            self._data = b""  # nothing will be decoded again
        self._is_filled = is_filled
        self._decoded[reduction] = raster
        return raster

    def _decoded_now(self, reduction: int) -> tuple[Raster, bool]:
        image_format, page = Format(self.facts.format), self._page - 1
        if self._isolated is not None:
            return self._isolated.decode(
                self._data,
                image_format,
                self._orientation,
                reduction,
                width=-(-self.width // reduction),
                height=-(-self.height // reduction),
                page=page,
                fill=self._fill,
            )
        decoded = decoding.decode(
            self._data, image_format, self._orientation, reduction, page=page, fill=self._fill
        )
        return decoded.image, decoded.is_filled


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """A picture, or the part of it in ``box``. Cheap: nothing is decoded or cut before pixels are asked.

    Two views are equal if they are of the same Picture object and box.
    """

    picture: Picture
    box: PixelBox | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, View):
            return NotImplemented
        return self.picture is other.picture and self.box == other.box

    def __hash__(self) -> int:
        return hash((id(self.picture), self.box))

    @property
    def width(self) -> int:
        return self.picture.width if self.box is None else max(self.box.width, 0)

    @property
    def height(self) -> int:
        return self.picture.height if self.box is None else max(self.box.height, 0)

    @property
    def num_bytes(self) -> int:
        """Bytes of the decoded pixels."""
        return 3 * self.width * self.height

    @property
    def held_bytes(self) -> int:
        """Bytes that whoever keeps the view keeps: all that is decoded of its picture."""
        return self.picture.held_bytes

    def pixels(self) -> Pixels:
        """uint8 [height, width, 3]; raises like :meth:`Picture.rgb` and :meth:`Picture.crop`."""
        return self.picture.rgb() if self.box is None else self.picture.crop(self.box)

    def reduced(self, short_side: int) -> Pixels:
        """:meth:`Picture.reduced` of the whole picture; of a part, its :meth:`pixels`."""
        return self.picture.reduced(short_side) if self.box is None else self.picture.crop(self.box)

    def raster(self, short_side: int) -> Raster:
        """:meth:`Picture.raster` of the whole picture; of a part, its :meth:`pixels`."""
        return self.picture.raster(short_side) if self.box is None else self.picture.crop(self.box)
