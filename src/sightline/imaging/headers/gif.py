"""GIF (87a, 89a): size, and the first frame alone."""

from __future__ import annotations

from dataclasses import dataclass

from sightline.imaging.headers.header import Header, Placement, damaged, truncated

_EXTENSION, _FRAME, _TRAILER = b"!", b",", b";"
_GRAPHIC_CONTROL = 0xF9
# Blocks hold up to 255 bytes, so that the largest file that is accepted by default has about 100,000 of them.
_MAX_BLOCKS = 250_000


@dataclass(slots=True)
class _Walk:
    """A position in the file, and how many more blocks may be passed on the way."""

    data: bytes
    position: int
    blocks_left: int = _MAX_BLOCKS
    transparent_index: int | None = None

    def to_first_frame(self) -> bool:
        """Stop at the first image descriptor. False if the file ends before it."""
        while True:
            introducer = self.data[self.position : self.position + 1]
            if introducer == _FRAME:
                return True
            if introducer in (b"", _TRAILER):
                return False
            self._count()
            if introducer == _EXTENSION:
                self._note_transparency()
                self.position += 2
                if not self.past_blocks():
                    return False
            else:
                self.position += 1  # padding between blocks, which decoders skip

    def past_blocks(self) -> bool:
        """Go behind the empty block that ends a chain of data blocks. False if the file ends before it."""
        while self.position < len(self.data):
            self._count()
            size = self.data[self.position]
            self.position += 1 + size
            if size == 0:
                return True
        return False

    def _note_transparency(self) -> None:
        block = self.data[self.position + 1 : self.position + 7]
        if len(block) == 6 and block[:2] == bytes((_GRAPHIC_CONTROL, 4)):
            self.transparent_index = block[5] if block[2] & 1 else None

    def _count(self) -> None:
        self.blocks_left -= 1
        if self.blocks_left < 0:
            raise damaged("GIF", f"its first frame takes more than {_MAX_BLOCKS} data blocks")


def read(data: bytes) -> Header:
    """Size of the logical screen, made larger where the first frame reaches out of it."""
    walk = _start(data)
    width, height = _u16(data, 6), _u16(data, 8)
    if not walk.to_first_frame() or walk.position + 10 > len(data):
        return Header(width, height)
    frame = Placement(*(_u16(data, walk.position + 1 + 2 * i) for i in range(4)))
    width, height = max(width, frame.left + frame.width), max(height, frame.top + frame.height)
    return Header(width, height, placement=frame)


def essentials(data: bytes) -> bytes:
    """A GIF of the first frame only: no comments, no application data, no further frames.

    Its screen is as large as the frame, so that a decoder returns the frame and nothing around it.

    Raises:
        InvalidImage: there is no frame, or it does not reach its end.
    """
    walk = _start(data)
    if not walk.to_first_frame() or walk.position + 10 > len(data):
        raise truncated("GIF")
    frame = walk.position
    # A descriptor of ten bytes, perhaps a palette, one byte with the code size, and the pixels.
    walk.position += 10 + _palette_bytes(data[frame + 9]) + 1
    if not walk.past_blocks():
        raise truncated("GIF")
    control = b""
    if walk.transparent_index is not None:
        control = bytes((0x21, _GRAPHIC_CONTROL, 4, 1, 0, 0, walk.transparent_index, 0))
    size = data[frame + 5 : frame + 9]
    head = data[:6] + size + data[10 : 13 + _palette_bytes(data[10])]
    descriptor = b",\0\0\0\0" + size
    return b"".join([head, control, descriptor, memoryview(data)[frame + 9 : walk.position], _TRAILER])


def _start(data: bytes) -> _Walk:
    if len(data) < 13:
        raise truncated("GIF")
    return _Walk(data, 13 + _palette_bytes(data[10]))


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _u16(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 2], "little")
