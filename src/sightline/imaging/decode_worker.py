"""A process that decodes untrusted images for another one, under limits and without network.

``imaging.isolation`` starts it. They talk over the socket whose descriptor is its first argument. A request
is a length (4 bytes, little-endian), so many bytes of JSON, and the image file; the JSON says how long that
is. With a request to decode comes the descriptor of a memory file for the pixels. The answer is a length and
JSON. Nothing else leaves the process.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import signal
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from typing import Any

from sightline.errors import ImageError
from sightline.imaging import decoding
from sightline.imaging.formats import Format

if sys.platform != "win32":  # where this module is imported for its constants, and never started
    import resource

LENGTH = struct.Struct("<I")
MAX_MESSAGE_BYTES = 64 * 1024
# 50 million pixels are 200 MB. A decoder holds them up to five times, beside 400 MB for Python and numpy.
MEMORY_BYTES = 1536 * 1024 * 1024
CPU_S = 10
OPEN_FILES = 64
# After so many images, or with so much memory, another process takes over; what was leaked goes.
IMAGES = 1000
RESIDENT_BYTES = 512 * 1024 * 1024

# Linux, <linux/prctl.h> and <linux/seccomp.h>.
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38
_SECCOMP_MODE_FILTER, _ALLOW, _ERRNO, _EPERM = 2, 0x7FFF0000, 0x00050000, 1
_LOAD_WORD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_SYSCALL_AT, _ARCHITECTURE_AT = 0, 4
# x86-64 numbers with this bit are the x32 ABI, a second way to every call.
_X32_BIT = 0x40000000
# Audit architecture and the numbers of system calls that a decoder does not need: the network, opening and
# changing files, programs, other processes, and parts of the kernel that have opened other sandboxes. A
# worker opens no file at all: it could send its content out in an error message or as pixels.
# Numbers: asm/unistd_64.h, asm-generic/unistd.h.
_COMMON = (424, 425, 426, 427, 434, 437, 438)  # pidfd_send_signal io_uring_* pidfd_open openat2 pidfd_getfd
_FORBIDDEN: Mapping[str, tuple[int, tuple[int, ...]]] = {
    "x86_64": (
        0xC000003E,
        (
            *(41, 42, 43, 49, 50, 53, 288),  # socket connect accept bind listen socketpair accept4
            *(57, 58, 59, 322),  # fork vfork execve execveat
            *(62, 200, 234, 101, 310, 311),  # kill tkill tgkill ptrace process_vm_readv/writev
            *(2, 85, 257, 303, 304),  # open creat openat name_to_handle_at open_by_handle_at
            *(82, 264, 316, 83, 258, 84, 133, 259),  # rename* mkdir mkdirat rmdir mknod mknodat
            *(86, 265, 87, 263, 88, 266, 76),  # link linkat unlink unlinkat symlink symlinkat truncate
            *(90, 91, 268, 92, 260),  # chmod fchmod fchmodat chown fchownat
            *(165, 166, 161, 155, 272, 308),  # mount umount2 chroot pivot_root unshare setns
            *(248, 249, 250, 298, 321, 323),  # add_key request_key keyctl perf_event_open bpf userfaultfd
        ),
    ),
    "aarch64": (
        0xC00000B7,
        (
            *(198, 203, 202, 200, 201, 199, 242),  # socket connect accept bind listen socketpair accept4
            *(221, 281),  # execve execveat
            *(129, 130, 131, 117, 270, 271),  # kill tkill tgkill ptrace process_vm_readv/writev
            *(56, 264, 265),  # openat name_to_handle_at open_by_handle_at
            *(38, 276, 34, 33),  # renameat renameat2 mkdirat mknodat
            *(37, 35, 36, 45),  # linkat unlinkat symlinkat truncate
            *(52, 53, 54),  # fchmod fchmodat fchownat
            *(40, 39, 51, 41, 97, 268),  # mount umount2 chroot pivot_root unshare setns
            *(217, 218, 219, 241, 280, 282),  # add_key request_key keyctl perf_event_open bpf userfaultfd
        ),
    ),
}
# Modules that decoders import at first use. No file can be opened by then.
_PRELOADED = (
    *(module for module, _ in decoding.DECODERS.values()),
    "PIL.Image", "PIL.ImageChops", "PIL.ImageFile", "PIL.ImageMath", "PIL.ImageMode", "PIL.ImagePalette",
    "PIL.MpoImagePlugin", "PIL.TiffImagePlugin", "encodings.ascii", "encodings.latin_1", "encodings.utf_16",
    "encodings.utf_16_be", "encodings.utf_16_le", "xml.etree.ElementTree",
)  # fmt: skip


def main() -> None:
    """Answer requests until the other end closes the socket, or it is time for another process."""
    # Both are for the process that started this one, which still decodes while it drains.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    for module in _PRELOADED:
        with suppress(ImportError):
            import_module(module)
    statm = os.open("/proc/self/statm", os.O_RDONLY)
    connection = socket.socket(fileno=int(sys.argv[1]))
    protections = confine()
    _send(connection, {"protections": protections})
    images = 0
    while True:
        request, descriptor = _receive(connection)
        if request is None:
            return
        data = _exactly(connection, int(request["bytes"]))
        images += 1
        is_last = images >= IMAGES or _resident_bytes(statm) > RESIDENT_BYTES
        _allow_cpu()
        _send(connection, _answer(request, data, descriptor) | {"is_last": is_last})
        if is_last:
            return


def confine() -> list[str]:
    """Give up what a decoder does not need. Return what the system could enforce."""
    limits = {
        "memory": (resource.RLIMIT_AS, MEMORY_BYTES),
        # Of the memory file that takes the pixels. Other files cannot be opened.
        "files": (resource.RLIMIT_FSIZE, MEMORY_BYTES),
        "open files": (resource.RLIMIT_NOFILE, OPEN_FILES),
        "core dumps": (resource.RLIMIT_CORE, 0),
    }
    enforced = []
    for name, (limit, value) in limits.items():
        try:
            resource.setrlimit(limit, (value, value))
            enforced.append(name)
        except (OSError, ValueError):
            continue
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        enforced.append("privileges")
        if _filter_system_calls(libc):
            enforced.append("system calls")
    return enforced


def _filter_system_calls(libc: ctypes.CDLL) -> bool:
    """Install a filter that answers forbidden calls with EPERM. False where the system has none."""
    architecture, forbidden = _FORBIDDEN.get(platform.machine(), (0, ()))
    if not forbidden:
        return False
    steps = [(_LOAD_WORD, 0, 0, _ARCHITECTURE_AT), (_JUMP_IF_EQUAL, 1, 0, architecture)]
    steps += [(_RETURN, 0, 0, _ERRNO | _EPERM), (_LOAD_WORD, 0, 0, _SYSCALL_AT)]
    steps += [(_JUMP_IF_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _ERRNO | _EPERM)]
    for number in (*forbidden, *_COMMON):
        steps += [(_JUMP_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | _EPERM)]
    steps.append((_RETURN, 0, 0, _ALLOW))
    program = b"".join(struct.pack("<HBBI", *step) for step in steps)
    instructions = ctypes.create_string_buffer(program, len(program))

    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))

    wanted = Filter(len(steps), ctypes.cast(instructions, ctypes.c_void_p))
    done: int = libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0)
    return done == 0


def _allow_cpu() -> None:
    """Let the next image take ``CPU_S`` seconds of a core. The kernel ends a process that takes more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + CPU_S + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _resident_bytes(statm: int) -> int:
    """The memory of this process now. The most so far, in getrusage, begins with that of its parent."""
    return int(os.pread(statm, 200, 0).split()[1]) * resource.getpagesize()


def _answer(request: dict[str, Any], data: bytes, descriptor: int | None) -> dict[str, Any]:
    work: dict[str, Callable[[], dict[str, Any]]] = {
        "decode": lambda: _decode(request, data, descriptor),
        "header": lambda: {"header": asdict(decoding.read_header(data, Format(request["format"])))},
    }
    try:
        return work[request["work"]]()
    except ImageError as error:
        return {"error": _kind(error).__name__, "message": str(error)}
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _kind(error: ImageError) -> type:
    """The class in ``sightline.errors`` that the error is one of."""
    return next(kind for kind in type(error).__mro__ if kind.__module__ == "sightline.errors")


def _decode(request: dict[str, Any], data: bytes, descriptor: int | None) -> dict[str, Any]:
    assert descriptor is not None
    decoded = decoding.decode(
        data,
        Format(request["format"]),
        request["orientation"],
        request["reduction"],
        page=request["page"],
        fill=request["fill"],
    )
    width, height = decoded.image.size
    if 4 * width * height > request["num_bytes"]:
        return {"error": "InvalidImage", "message": "The image holds more pixels than its header says."}
    # As Pillow has them, four bytes each: to leave one out takes longer than to copy it.
    pixels = memoryview(decoded.image.tobytes("raw", "RGBX"))
    while pixels:  # in one go, if no signal comes; writing is cheaper than faulting in mapped pages
        pixels = pixels[os.write(descriptor, pixels) :]
    return {"width": width, "height": height, "is_filled": decoded.is_filled}


def _receive(connection: socket.socket) -> tuple[dict[str, Any] | None, int | None]:
    """A request and the descriptor that came with it; None when the other end is gone."""
    head, descriptors, _, _ = socket.recv_fds(connection, LENGTH.size, 1)
    if not head:
        return None, None
    head += _exactly(connection, LENGTH.size - len(head))
    (length,) = LENGTH.unpack(head)
    request: dict[str, Any] = json.loads(_exactly(connection, length))
    return request, descriptors[0] if descriptors else None


def _exactly(connection: socket.socket, num_bytes: int) -> bytes:
    received = bytearray(num_bytes)
    view, at = memoryview(received), 0
    while at < num_bytes:
        count = connection.recv_into(view[at:])
        if not count:
            sys.exit(0)  # the process that asked is gone
        at += count
    return bytes(received)


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    body = json.dumps(message).encode()
    connection.sendall(LENGTH.pack(len(body)) + body)


if __name__ == "__main__":
    main()
