"""Decoding in processes of their own: an image that crashes, stalls or bloats a decoder costs only itself.

Compressed bytes go to a worker over a socket. Pixels come back in a memory file that is mapped, not copied.
Threads that decode wait for a free worker. See ``imaging.decode_worker`` for what a worker may do.
"""

from __future__ import annotations

import atexit
import json
import logging
import mmap
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from sightline import errors
from sightline.errors import DecodingEnded, ImageError
from sightline.imaging.decode_worker import LENGTH, MAX_MESSAGE_BYTES, MEMORY_BYTES
from sightline.imaging.formats import Format
from sightline.imaging.headers.header import Header, Placement
from sightline.imaging.raster import Pixels

_log = logging.getLogger(__name__)

# One image, queueing excluded. The worker's own limit of 10 s of a core ends it earlier on an idle machine.
TIMEOUT_S = 30.0
# Starting Python on a busy machine.
_START_S = 60.0
# Starts that failed one after the other, from which on no image is taken for decodable.
MAX_FAILED_STARTS = 2
# What Python needs to find its libraries. Keys and tokens in the environment stay in this process.
_ENVIRONMENT = ("HOME", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "VIRTUAL_ENV")
# Maps all pages at once. Python 3.11 has no name for it; the number is that of Linux.
MAP_POPULATE = getattr(mmap, "MAP_POPULATE", 0x8000)
_PROGRAM = "from sightline.imaging.decode_worker import main; main()"
_KINDS: Mapping[str, type[ImageError]] = {
    kind.__name__: kind
    for kind in (ImageError, errors.InvalidImage, errors.UnsupportedImage, errors.ImageTooLarge)
}


def is_supported() -> bool:
    """Whether this process has what isolation needs: memory files and Unix sockets, which Linux has.

    A limit on the size of files (ulimit -f) is one on memory files too.
    """
    if sys.platform != "linux" or not hasattr(os, "memfd_create") or not sys.executable:
        return False
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return limit == resource.RLIM_INFINITY or limit >= MEMORY_BYTES


class DecodeWorkers:
    """Up to ``number`` processes that decode, started at :meth:`start` or when needed. Thread-safe."""

    def __init__(self, number: int) -> None:
        self._free: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._failed_starts = 0
        for _ in range(number):
            self._free.put(None)

    def start(self) -> None:
        """Start all workers, without waiting until they are ready."""
        waiting = []
        while not self._free.empty():
            waiting.append(self._free.get())
        for worker in waiting:
            self._free.put(worker or self._started())

    @property
    def is_able(self) -> bool:
        """Whether workers start. False after ``MAX_FAILED_STARTS`` that failed one after the other."""
        return self._failed_starts < MAX_FAILED_STARTS

    @property
    def needs_mending(self) -> bool:
        """Whether a worker ended while it was idle, or did not start."""
        with self._lock:
            return self._failed_starts > 0 or any(not worker.is_alive for worker in self._all)

    def mend(self) -> None:
        """Replace idle workers that ended or did not start, and wait until the new ones are ready."""
        free = []
        while not self._free.empty():
            try:
                free.append(self._free.get_nowait())
            except queue.Empty:
                break
        dead = [worker for worker in free if worker is None or not worker.is_alive]
        for worker in free:
            if worker not in dead:
                self._free.put(worker)
        for each in dead:
            self._free.put(self._replaced(each))

    def _replaced(self, worker: _Worker | None) -> _Worker | None:
        self._forget(worker)
        started = None
        try:
            started = self._started()
            started.wait_until_ready()
        except (_WorkerEnded, OSError, DecodingEnded) as error:
            self._forget(started)
            self._failed_starts += 1
            _log.error("a decoder does not start: %s", error)
            return None
        self._failed_starts = 0
        return started

    def decode(
        self,
        data: bytes,
        image_format: Format,
        orientation: int,
        reduction: int,
        *,
        width: int,
        height: int,
        page: int = 0,
        fill: bool = False,
    ) -> tuple[Pixels, bool]:
        """Decode as :func:`sightline.imaging.decoding.decode` does. Blocks.

        Args:
            width, height: most that the result may have, which the header says.

        Returns:
            Pixels uint8 [height, width, 4], the last byte of each unused, read-only; and whether the end of
            the file was made up.

        Raises:
            InvalidImage, UnsupportedImage: as ``decoding.decode``.
            DecodingEnded: the decoder crashed, or took too long or too much memory.
        """
        num_bytes = 4 * width * height
        descriptor = _memory_file(num_bytes)
        try:
            request = {
                "work": "decode", "format": image_format.value, "orientation": orientation,
                "reduction": reduction, "num_bytes": num_bytes, "page": page, "fill": fill,
            }  # fmt: skip
            answer = self._ask(request, data, descriptor)
            shared = mmap.mmap(
                descriptor, num_bytes, flags=mmap.MAP_SHARED | MAP_POPULATE, prot=mmap.PROT_READ
            )
        finally:
            os.close(descriptor)
        return _array(shared, answer), bool(answer.get("is_filled"))

    def read_header(self, data: bytes, image_format: Format) -> Header:
        """Read a header as :func:`sightline.imaging.decoding.read_header` does. Blocks; raises as it and
        :meth:`decode`."""
        found = self._ask({"work": "header", "format": image_format.value}, data)["header"]
        try:
            placement = found["placement"]
            return Header(
                int(found["width"]),
                int(found["height"]),
                int(found["orientation"]),
                None if placement is None else Placement(*(int(each) for each in placement.values())),
            )
        except (LookupError, TypeError, ValueError, AttributeError):
            raise DecodingEnded("The image cannot be decoded: its decoder gave a wrong answer.") from None

    def close(self) -> None:
        """End all workers. An image under way fails."""
        with self._lock:
            self._closed = True
            workers, self._all = self._all, set()
        for worker in workers:
            worker.end()

    def _ask(self, request: dict[str, Any], data: bytes, descriptor: int | None = None) -> dict[str, Any]:
        worker = self._free.get()
        try:
            try:
                worker = self._living(worker)
                answer = worker.ask(request, data, descriptor)
            except _WorkerEnded as ended:
                if worker is None or worker.has_image:
                    raise
                _log.warning("a decoder ended before it had its image: %s", ended)  # which is not to blame
                worker = self._living(worker)
                answer = worker.ask(request, data, descriptor)
            self._failed_starts = 0
        except _WorkerEnded as ended:
            if worker is not None and not worker.has_image:
                self._failed_starts += 1
            self._forget(worker)
            worker = None
            _log.warning("a decoder ended: %s", ended)
            raise DecodingEnded(f"The image cannot be decoded: its decoder {ended}.") from None
        finally:
            self._free.put(worker)
        if answer.get("is_last"):
            worker.retire()
        if "error" in answer:
            kind = _KINDS.get(str(answer["error"]), ImageError)
            raise kind(str(answer.get("message"))[:500])
        return answer

    def _living(self, worker: _Worker | None) -> _Worker:
        if worker is not None and worker.is_alive:
            return worker
        self._forget(worker)
        return self._started()

    def _started(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise DecodingEnded("The image cannot be decoded: the process is being shut down.")
            worker = _Worker()
            self._all.add(worker)
            return worker

    def _forget(self, worker: _Worker | None) -> None:
        if worker is not None:
            with self._lock:
                self._all.discard(worker)
            worker.end()


def _memory_file(num_bytes: int) -> int:
    """Make a sealed file: a worker that shrank it would end this process by SIGBUS."""
    import fcntl

    descriptor = os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, num_bytes)
        fcntl.fcntl(
            descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        )
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _array(shared: mmap.mmap, answer: Mapping[str, Any]) -> Pixels:
    """Return the answer of a worker. Its figures are checked: it may be in the hands of the image."""
    try:
        width, height = int(answer["width"]), int(answer["height"])
    except (LookupError, TypeError, ValueError):
        width = height = 0
    if width < 1 or height < 1 or 4 * width * height > len(shared):
        raise DecodingEnded("The image cannot be decoded: its decoder gave a wrong answer.")
    return np.frombuffer(shared, np.uint8, 4 * width * height).reshape(height, width, 4)


class _WorkerEnded(Exception):
    """Says what became of a worker."""


class _Worker:
    """One process. ``ask`` is for one thread at a time."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-X", "utf8", "-c", _PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._socket = ours
        self._is_ready = False
        self._is_retired = False
        # Whether the image under way is out of our hands: what ends the worker from now on may be its doing.
        self.has_image = False

    @property
    def is_alive(self) -> bool:
        return not self._is_retired and self._process.poll() is None

    def retire(self) -> None:
        """Have the next request start another process."""
        self._is_retired = True

    def ask(self, request: dict[str, Any], data: bytes, descriptor: int | None) -> dict[str, Any]:
        """Raises _WorkerEnded: it crashed, or did not answer in time."""
        body = json.dumps(request | {"bytes": len(data)}).encode()
        self.has_image = False
        self.wait_until_ready()
        try:
            self._socket.settimeout(TIMEOUT_S)
            descriptors = [] if descriptor is None else [descriptor]
            socket.send_fds(self._socket, [LENGTH.pack(len(body))], descriptors)
            self._socket.sendall(body + data if len(data) < MAX_MESSAGE_BYTES else body)
            if len(data) >= MAX_MESSAGE_BYTES:
                self._socket.sendall(data)
            self.has_image = True
            return self._receive()
        except TimeoutError:
            self.has_image = True
            raise _WorkerEnded(f"took longer than {TIMEOUT_S:g} s") from None
        except (OSError, ValueError):
            raise _WorkerEnded(self._how_it_ended()) from None

    def wait_until_ready(self) -> None:
        """Raises _WorkerEnded: it did not start, or not in time."""
        if self._is_ready:
            return
        try:
            self._socket.settimeout(_START_S)
            self._receive()
        except TimeoutError:
            raise _WorkerEnded(f"took longer than {_START_S:g} s to start") from None
        except (OSError, ValueError):
            raise _WorkerEnded(self._how_it_ended()) from None
        self._is_ready = True

    def end(self) -> None:
        self._process.kill()
        self._socket.close()
        self._process.wait()

    def _receive(self) -> dict[str, Any]:
        (length,) = LENGTH.unpack(self._exactly(LENGTH.size))
        if length > MAX_MESSAGE_BYTES:
            raise ValueError("an answer that is too long")
        answer = json.loads(self._exactly(length))
        if not isinstance(answer, dict):
            raise ValueError("an answer that is not an object")
        return answer

    def _exactly(self, num_bytes: int) -> bytes:
        received = b""
        while len(received) < num_bytes:
            piece = self._socket.recv(num_bytes - len(received))
            if not piece:
                raise ConnectionError
            received += piece
        return received

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "gave a wrong answer"
        import signal

        if code == -signal.SIGXCPU:
            return "took too long"
        return f"crashed ({signal.Signals(-code).name})" if code < 0 else "ended, perhaps for lack of memory"


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # Where this process found its modules; one thread, as a decoder does no linear algebra; no files written.
    path = os.pathsep.join(filter(None, sys.path))
    return {**kept, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


_pools: dict[int, DecodeWorkers] = {}
_pools_lock = threading.Lock()


def workers(number: int) -> DecodeWorkers | None:
    """Return the process-wide pool of so many workers; None for 0, and on systems without isolation."""
    if number < 1 or not is_supported():
        return None
    with _pools_lock:
        if number not in _pools:
            _pools[number] = DecodeWorkers(number)
        return _pools[number]


@atexit.register
def close() -> None:
    """End the workers of this process. The next image starts new ones."""
    with _pools_lock:
        pools = list(_pools.values())
        _pools.clear()
    for pool in pools:
        pool.close()
