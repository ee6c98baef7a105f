"""Damaged files in the real decode workers: the outcome is a picture or an image error, whatever the damage.

A case is replayed by its format and number: its mutations are seeded with both.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from sightline.errors import DecodingEnded, ImageError
from sightline.imaging import ImageLimits, isolation, open_picture, read_capture, read_position
from sightline.imaging.formats import Format

pytestmark = pytest.mark.skipif(not isolation.is_supported(), reason="this system has no isolation")

CASES, LONG_CASES = 1000, 5000
WORKERS = 2
LIMITS = ImageLimits(25 * 2**20, max_pixels=2_000_000, max_side=30_000, decode_workers=WORKERS)
# Values at which lengths, counts and offsets overflow or become negative.
EDGES = tuple(
    value.to_bytes(size, order)
    for size, values in ((1, (0, 1, 127, 128, 255)), (2, (0, 1, 0x7FFF, 0x8000, 0xFFFF)))
    for value in values
    for order in ("big", "little")
) + tuple(
    value.to_bytes(4, order)
    for value in (0, 1, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
    for order in ("big", "little")
)
Mutation = Callable[[random.Random, bytearray, bytes], None]


def _place(chance: random.Random, data: bytearray) -> int:
    """A position; every other time among the first bytes, where the headers are."""
    reach = min(len(data), 200) if chance.random() < 0.5 else len(data)
    return chance.randrange(reach) if reach else 0


def _flip(chance: random.Random, data: bytearray, other: bytes) -> None:
    for _ in range(chance.randint(1, 8)):
        data[_place(chance, data)] ^= 1 << chance.randrange(8)


def _put_edge(chance: random.Random, data: bytearray, other: bytes) -> None:
    at, value = _place(chance, data), chance.choice(EDGES)
    data[at : at + len(value)] = value


def _delete(chance: random.Random, data: bytearray, other: bytes) -> None:
    at = _place(chance, data)
    del data[at : at + chance.randint(1, 64)]


def _repeat(chance: random.Random, data: bytearray, other: bytes) -> None:
    at = _place(chance, data)
    data[at:at] = data[at : at + chance.randint(1, 200)] * chance.randint(1, 20)


def _insert_noise(chance: random.Random, data: bytearray, other: bytes) -> None:
    at = _place(chance, data)
    data[at:at] = chance.randbytes(chance.randint(1, 64))


def _truncate(chance: random.Random, data: bytearray, other: bytes) -> None:
    del data[_place(chance, data) :]


def _splice(chance: random.Random, data: bytearray, other: bytes) -> None:
    """Go on with another file of the format."""
    del data[_place(chance, data) :]
    data += other[chance.randrange(len(other)) :]


MUTATIONS: tuple[Mutation, ...] = (_flip, _put_edge, _delete, _repeat, _insert_noise, _truncate, _splice)


def mutated(image_format: str, number: int, originals: list[bytes]) -> bytes:
    """One to three mutations. The first bytes stay, by which a file's decoder is chosen."""
    chance = random.Random(f"{image_format}-{number}")
    original = chance.choice(originals)
    data = bytearray(original)
    for _ in range(chance.randint(1, 3)):
        if data:
            chance.choice(MUTATIONS)(chance, data, chance.choice(originals))
    return original[:12] + bytes(data[12:])


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    yield
    isolation.close()


def _outcome(data: bytes) -> str:
    read_capture(data)  # metadata is read in this process; malformed ones are no error
    read_position(data)
    try:
        picture = open_picture(data, LIMITS)
        pixels = picture.rgb()
    except ImageError as error:
        return "an error with a path" if "/" in str(error) else type(error).__name__
    assert pixels.shape == (picture.height, picture.width, 3)
    return "picture"


@pytest.mark.parametrize("image_format", [each.value for each in Format])
def test_a_damaged_file_is_a_picture_or_an_image_error(
    image_format: str, small_files: dict[str, bytes], is_long: bool
) -> None:
    originals = [data for name, data in small_files.items() if name.split("-")[0] == image_format]
    assert {_outcome(data) for data in originals} == {"picture"}

    def case(number: int) -> str:
        return _outcome(mutated(image_format, number, originals))

    with ThreadPoolExecutor(WORKERS) as threads:
        outcomes = list(threads.map(case, range(LONG_CASES if is_long else CASES)))
    # A worker that ends costs its image only. That a small file ends one is a fault of ours nevertheless.
    ended = [number for number, outcome in enumerate(outcomes) if outcome == DecodingEnded.__name__]
    assert ended == []
    assert "an error with a path" not in outcomes
    assert len(set(outcomes)) > 1, "some files survive their damage, and some do not"
    assert {_outcome(data) for data in originals} == {"picture"}
    workers = [each for each in psutil.Process().children() if "decode_worker" in " ".join(each.cmdline())]
    assert len(workers) <= WORKERS
