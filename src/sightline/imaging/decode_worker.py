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
from dataclasses import asdict
from pathlib import Path
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
_LOAD_WORD, _JUMP_IF_EQUAL, _JUMP_IF_BITS, _RETURN = 0x20, 0x15, 0x45, 0x06
_SYSCALL_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Audit architecture and the numbers of system calls that a decoder has no use for: sockets, programs, other
# processes, and changes to files and mounts. Then the calls that open files, and where their flags are.
_FORBIDDEN: Mapping[str, tuple[int, tuple[int, ...], tuple[tuple[int, int], ...]]] = {
    "x86_64": (
        0xC000003E,
        (
            *(41, 42, 43, 49, 50, 53, 288),  # socket connect accept bind listen socketpair accept4
            *(57, 58, 59, 322, 62, 101),  # fork vfork execve execveat kill ptrace
            *(
                82,
                264,
                316,
                83,
                258,
                84,
                86,
                265,
            ),  # rename renameat renameat2 mkdir mkdirat rmdir link linkat
            *(87, 263, 88, 266, 76),  # unlink unlinkat symlink symlinkat truncate
            *(90, 91, 268, 92),  # chmod fchmod fchmodat chown
            *(165, 166, 161, 155),  # mount umount2 chroot pivot_root
            *(310, 311, 321, 323, 425, 250),  # process_vm_readv/writev bpf userfaultfd io_uring_setup keyctl
        ),
        ((2, _ARGUMENTS_AT + 8), (257, _ARGUMENTS_AT + 16)),  # open, openat
    ),
    "aarch64": (
        0xC00000B7,
        (
            *(198, 203, 202, 200, 201, 199, 242),  # socket connect accept bind listen socketpair accept4
            *(221, 281, 129, 117),  # execve execveat kill ptrace
            *(38, 276, 34, 37),  # renameat renameat2 mkdirat linkat
            *(35, 36, 45),  # unlinkat symlinkat truncate
            *(52, 53),  # fchmod fchmodat
            *(40, 39, 51, 41),  # mount umount2 chroot pivot_root
            *(270, 271, 280, 282, 425, 219),  # process_vm_readv/writev bpf userfaultfd io_uring_setup keyctl
        ),
        ((56, _ARGUMENTS_AT + 16),),  # openat
    ),
}


def main() -> None:
    """Answer requests until the other end closes the socket, or it is time for another process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
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
        is_last = images >= IMAGES or _resident_bytes() > RESIDENT_BYTES
        _allow_cpu()
        _send(connection, _answer(request, data, descriptor) | {"is_last": is_last})
        if is_last:
            return


def confine() -> list[str]:
    """Give up what a decoder does not need. Return what the system could enforce."""
    limits = {
        "memory": (resource.RLIMIT_AS, MEMORY_BYTES),
        # Of the memory file that takes the pixels. Other files cannot be opened for writing.
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
    architecture, forbidden, opening = _FORBIDDEN.get(platform.machine(), (0, (), ()))
    if not forbidden:
        return False
    steps = [(_LOAD_WORD, 0, 0, _ARCHITECTURE_AT), (_JUMP_IF_EQUAL, 1, 0, architecture)]
    steps += [(_RETURN, 0, 0, _ERRNO | _EPERM), (_LOAD_WORD, 0, 0, _SYSCALL_AT)]
    for number in forbidden:
        steps += [(_JUMP_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | _EPERM)]
    for number, flags_at in opening:
        steps += [
            (_JUMP_IF_EQUAL, 0, 4, number),
            (_LOAD_WORD, 0, 0, flags_at),
            (_JUMP_IF_BITS, 0, 1, _WRITING),
        ]
        steps += [(_RETURN, 0, 0, _ERRNO | _EPERM), (_RETURN, 0, 0, _ALLOW)]
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


def _resident_bytes() -> int:
    """The memory of this process now. The most so far, in getrusage, begins with that of its parent."""
    with Path("/proc/self/statm").open("rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


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
