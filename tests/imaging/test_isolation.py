"""Images decoded in processes of their own: the same pixels, and no harm from what is hostile."""

from __future__ import annotations

import gc
import io
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from skimage import data

from sightline.errors import DecodingEnded, ImageError, InvalidImage
from sightline.imaging import ImageLimits, encode_png, isolation, middle_square, open_picture, resize
from sightline.imaging.formats import Format
from sightline.settings import Settings

pytestmark = pytest.mark.skipif(not isolation.is_supported(), reason="this system has no memory files")

PLAIN = replace(ImageLimits.from_settings(Settings(_env_file=None)), decode_workers=0, max_bytes=10**9)
# A number that no other test uses: the workers are this module's alone.
ISOLATED = replace(PLAIN, decode_workers=3)


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    yield
    isolation.close()


def encoded(kind: str, pixels: np.ndarray | None = None, **options: Any) -> bytes:
    image = Image.fromarray(data.coffee() if pixels is None else pixels)
    file = io.BytesIO()
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.from_pillow(image).save(file, **options)
    else:
        image.save(file, kind, **options)
    return file.getvalue()


def processes() -> list[psutil.Process]:
    """The workers of this process that are alive."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if any("decode_worker" in part for part in child.cmdline()):
                found.append(child)
    return found


def until(holds: Callable[[], object]) -> None:
    """pytest's own time limit ends what never holds."""
    while not holds():
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_pixels_are_those_of_this_process(kind: str) -> None:
    file = encoded(kind)
    expected, found = open_picture(file, PLAIN), open_picture(file, ISOLATED)
    assert found.facts == expected.facts
    np.testing.assert_array_equal(found.rgb(), expected.rgb())
    assert not found.rgb().flags.writeable
    for picture in (open_picture(file, PLAIN), open_picture(file, ISOLATED)):
        square = middle_square(picture.raster(64), 64, 64)
        if picture._isolated is None:
            expected_square = square
    np.testing.assert_array_equal(square, expected_square)
    np.testing.assert_array_equal(
        resize(open_picture(file, ISOLATED).raster(1), 90, 60),
        resize(open_picture(file, PLAIN).raster(1), 90, 60),
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("short_side", [400, 60, 30])
def test_turned_and_reduced_photos_are_the_same(orientation: int, short_side: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded("JPEG", data.coffee()[:397, :595], exif=exif)
    expected = open_picture(file, PLAIN).reduced(short_side)
    np.testing.assert_array_equal(open_picture(file, ISOLATED).reduced(short_side), expected)


def test_a_truncated_photo_is_refused_or_filled_alike() -> None:
    torn = encoded("JPEG")[:-5000]
    with pytest.raises(InvalidImage) as plain:
        open_picture(torn, PLAIN).rgb()
    with pytest.raises(InvalidImage) as isolated:
        open_picture(torn, ISOLATED).rgb()
    assert str(isolated.value) == str(plain.value)
    filled = [open_picture(torn, replace(limits, fills_truncated=True)) for limits in (PLAIN, ISOLATED)]
    np.testing.assert_array_equal(filled[0].rgb(), filled[1].rgb())
    assert filled[1].is_filled


@pytest.mark.parametrize(
    "junk", [b"\xff\xd8\xff\xe0" + b"x" * 500, encoded("PNG")[:60], encoded("AVIF")[:200]]
)
def test_errors_are_those_of_this_process(junk: bytes) -> None:
    raised = []
    for limits in (PLAIN, ISOLATED):
        with pytest.raises(ImageError) as error:
            open_picture(junk, limits).rgb()
        raised.append((error.value.code, str(error.value)))
    assert raised[0] == raised[1]


def test_fifty_megapixels_fit_into_the_memory_of_a_worker() -> None:
    rows = np.random.default_rng(1).integers(0, 255, (63, 8000, 3), np.uint8)
    pixels = np.tile(rows, (99, 1, 1))
    file = encoded("JPEG", pixels, quality=40, progressive=True)
    assert open_picture(file, ISOLATED).rgb().shape == pixels.shape


def slow_file() -> bytes:
    """Takes a decoder long enough to be killed in the midst of it."""
    rows = np.random.default_rng(2).integers(0, 255, (60, 8000, 3), np.uint8)
    return encoded("JPEG", np.tile(rows, (100, 1, 1)), quality=90, progressive=True)


def killed_while_busy(kill: Callable[[psutil.Process], None]) -> ImageError:
    """Decode in a thread, and do something to the worker that is at it."""
    open_picture(encoded("PNG"), ISOLATED).rgb()
    before = {process.pid: process.cpu_times() for process in processes()}
    raised: list[ImageError] = []

    def decode() -> None:
        try:
            open_picture(SLOW, ISOLATED).rgb()
        except ImageError as error:
            raised.append(error)

    thread = threading.Thread(target=decode)
    thread.start()

    def busy() -> psutil.Process | None:
        for process in processes():
            times = process.cpu_times()
            used = sum(times[:2]) - sum(before.get(process.pid, (0.0, 0.0))[:2])
            if used > 0.1:
                return process
        return None

    until(busy)
    worker = busy()
    assert worker is not None
    kill(worker)
    thread.join()
    (error,) = raised
    return error


SLOW = slow_file()


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGXCPU])
def test_a_decoder_that_dies_costs_its_image_and_nothing_else(number: int) -> None:
    error = killed_while_busy(lambda process: process.send_signal(number))
    assert error.code == DecodingEnded.code
    good = encoded("JPEG")
    assert open_picture(good, ISOLATED).rgb().shape == (400, 600, 3)


def test_a_hundred_photos_beside_a_crash_are_all_decoded() -> None:
    good = encoded("JPEG")
    with ThreadPoolExecutor(8) as pool:
        futures = []

        def crash(process: psutil.Process) -> None:
            for number in range(100):
                futures.append(pool.submit(lambda: open_picture(good, ISOLATED).rgb().shape))
                if number == 50:
                    process.send_signal(signal.SIGSEGV)

        error = killed_while_busy(crash)
        assert [future.result() for future in futures] == [(400, 600, 3)] * 100
    assert error.code == DecodingEnded.code


def test_a_worker_that_died_while_idle_is_replaced_unnoticed() -> None:
    good = encoded("PNG")
    open_picture(good, ISOLATED).rgb()
    for process in processes():
        process.kill()
    until(lambda: not processes())
    assert open_picture(good, ISOLATED).rgb().shape == (400, 600, 3)


def test_a_decoder_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "TIMEOUT_S", 1.0)
    error = killed_while_busy(lambda process: process.suspend())
    assert error.code == DecodingEnded.code


def test_pixels_leave_no_files_and_no_memory_behind() -> None:
    good = encoded("JPEG")
    open_picture(good, ISOLATED).rgb()
    gc.collect()
    files, shared = psutil.Process().num_fds(), mapped()
    for _ in range(50):
        open_picture(good, ISOLATED).rgb()
    gc.collect()
    assert psutil.Process().num_fds() <= files + 1
    assert mapped() <= shared + 1


def mapped() -> int:
    return sum("memfd:pixels" in line for line in Path("/proc/self/maps").read_text().splitlines())


def test_workers_end_with_the_process_that_started_them() -> None:
    script = (
        "import sys, time; sys.path[:] = " + repr(sys.path) + "\n"
        "from sightline.imaging.isolation import workers\n"
        "pool = workers(2); pool.start()\n"
        "print(*(worker._process.pid for worker in pool._all), flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    until(lambda: not any(alive(pid) for pid in pids))


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def confined(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that has given up what a decoder does not need."""
    setup = "import os, socket; from sightline.imaging.decode_worker import confine; print(confine())\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", setup + code], capture_output=True, text=True, timeout=60, env=environment
    )


FORBIDDEN = {
    "network": "socket.socket()",
    "another program": "os.execv('/bin/true', ['true'])",
    "writing a file": "open('{tmp}/written', 'w')",
    "changing a file": "open('{tmp}/there', 'r+')",
    "removing a file": "os.unlink('{tmp}/there')",
    "renaming a file": "os.rename('{tmp}/there', '{tmp}/gone')",
    "a folder": "os.mkdir('{tmp}/folder')",
    "reading a file": "open('{tmp}/there')",
    "reading another process": "open('/proc/1/stat')",
    "killing": "os.kill(os.getppid(), 0)",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_a_worker_cannot_do_what_a_decoder_need_not(what: str, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("before")
    done = confined(FORBIDDEN[what].format(tmp=tmp_path))
    if "system calls" not in done.stdout:
        pytest.skip("this system filters no calls")
    assert done.returncode != 0
    assert "PermissionError" in done.stderr
    assert (tmp_path / "there").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x32 is an ABI of x86-64")
def test_the_second_numbering_of_system_calls_is_no_way_out() -> None:
    # mkdir by its x32 number. A kernel without x32 says ENOSYS (38); the filter says EPERM (1) before that.
    done = confined(
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.syscall(0x40000000 | 83, b'/tmp', 0), ctypes.get_errno())"
    )
    if "system calls" not in done.stdout:
        pytest.skip("this system filters no calls")
    assert done.stdout.splitlines()[-1] == "-1 1"


def test_a_worker_cannot_change_the_size_of_the_memory_it_writes_to() -> None:
    descriptor = isolation._memory_file(4096)
    try:
        for size in (0, 8192):
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, size)
        assert os.write(descriptor, b"x" * 4096) == 4096
    finally:
        os.close(descriptor)


def test_a_worker_decodes_on_while_its_server_drains() -> None:
    pool = isolation.DecodeWorkers(1)
    photo = encode_png(np.zeros((8, 8, 3), np.uint8))
    try:
        pids = []
        for _ in range(2):
            pool.decode(photo, Format.PNG, 1, 1, width=8, height=8)
            (worker,) = pool._all
            pids.append(worker._process.pid)
            os.kill(pids[-1], signal.SIGTERM)  # as a service manager sends it to a whole group
            os.kill(pids[-1], signal.SIGINT)
        assert pids[0] == pids[1]
        assert alive(pids[0])
    finally:
        pool.close()


def test_a_worker_cannot_take_more_memory_than_it_is_given() -> None:
    done = confined("bytearray(4 * 1024 ** 3)")
    assert "MemoryError" in done.stderr


def test_a_worker_sees_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_API_KEYS", "secret")
    pool = isolation.DecodeWorkers(1)
    pool.start()
    (worker,) = pool._all
    assert "secret" not in Path(f"/proc/{worker._process.pid}/environ").read_text()
    pool.close()
