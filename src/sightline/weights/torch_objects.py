"""Files of ``torch.save``, read without torch: the zip format, and the one before torch 1.6.

Both hold a pickle that describes tensors, and their numbers beside it.
"""

from __future__ import annotations

import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sightline.errors import CheckpointInvalid
from sightline.weights.pickles import Call, Global, distinct, read
from sightline.weights.storages import Storage, mapped, num_bytes
from sightline.weights.tensors import DType, Tensor

# What torch's legacy serialisation writes first.
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MAX_MEMBERS = 100_000
_LOCAL_HEADER_BYTES = 30

_DTYPES: Mapping[str, DType] = {
    "torch.DoubleStorage": "F64",
    "torch.FloatStorage": "F32",
    "torch.HalfStorage": "F16",
    "torch.BFloat16Storage": "BF16",
    "torch.LongStorage": "I64",
    "torch.IntStorage": "I32",
    "torch.ShortStorage": "I16",
    "torch.CharStorage": "I8",
    "torch.ByteStorage": "U8",
    "torch.BoolStorage": "BOOL",
}

_Place = Callable[[str, DType, int], Storage]


def read_zip(path: Path) -> object:
    """Return the object of a file in the zip format.

    Raises:
        CheckpointInvalid: damaged or unsafe.
    """
    data = mapped(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, len(data))
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise CheckpointInvalid("the zip archive is damaged or cut short") from error
    described = [name for name in members if name.endswith("/data.pkl")]
    if len(described) != 1:
        raise CheckpointInvalid("the zip archive has no data.pkl; expected a file that torch.save wrote")
    folder = described[0].removesuffix("data.pkl")
    order = members.get(f"{folder}byteorder")
    if order is not None and _content(data, order) != b"little":
        raise CheckpointInvalid("the numbers are in another byte order; expected little-endian")

    storages: dict[tuple[str, DType], Storage] = {}

    def storage(key: str, dtype: DType, count: int) -> Storage:
        member = members.get(f"{folder}data/{key}")
        if member is None or member.file_size != count * num_bytes(dtype):
            raise CheckpointInvalid(f"the numbers of storage {key[:20]} are missing or not {count}")
        if (key, dtype) not in storages:
            storages[key, dtype] = Storage(dtype, count, data, _begin(data, member), member.CRC)
        return storages[key, dtype]

    content = memoryview(_content(data, members[described[0]]))
    result, end = read(content, 0, _CALLS, _persistent(storage))
    if end != len(content):
        raise CheckpointInvalid("bytes follow the pickle")
    return result


def _members(archive: zipfile.ZipFile, size: int) -> Mapping[str, zipfile.ZipInfo]:
    """The members by name, all stored as they are."""
    infos = archive.infolist()
    members = {info.filename: info for info in infos}
    if len(infos) > _MAX_MEMBERS or len(members) != len(infos):
        raise CheckpointInvalid("the zip archive has too many members, or one twice")
    for info in infos:
        stored = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
        if not stored or info.flag_bits & 1:
            raise CheckpointInvalid("the zip archive is compressed or encrypted, which torch does not do")
        if info.filename.startswith("/") or ".." in info.filename.split("/") or "\\" in info.orig_filename:
            raise CheckpointInvalid("the zip archive has a member outside its folder")
    if sum(info.file_size for info in infos) > size:
        raise CheckpointInvalid("the zip archive claims more bytes than it has")
    return members


def _begin(data: mmap.mmap, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin: after its local header, whose length only that header tells."""
    header = data[info.header_offset : info.header_offset + _LOCAL_HEADER_BYTES]
    if len(header) != _LOCAL_HEADER_BYTES or header[:4] != b"PK\x03\x04":
        raise CheckpointInvalid("the zip archive is damaged")
    name, extra = struct.unpack("<HH", header[26:])
    begin = info.header_offset + _LOCAL_HEADER_BYTES + int(name) + int(extra)
    if begin + info.file_size > len(data):
        raise CheckpointInvalid("the zip archive is cut short")
    return begin


def _content(data: mmap.mmap, info: zipfile.ZipInfo) -> bytes:
    begin = _begin(data, info)
    content = data[begin : begin + info.file_size]
    if zlib.crc32(content) != info.CRC:
        raise CheckpointInvalid("the description changed after it was written")
    return content


def read_legacy(path: Path) -> object:
    """Return the object of a file in the format before torch 1.6: pickles, then the storages.

    Raises:
        CheckpointInvalid: damaged, unsafe or another pickle.
    """
    data = mapped(path)
    storages: dict[str, Storage] = {}

    def storage(key: str, dtype: DType, count: int) -> Storage:
        found = storages.setdefault(key, Storage(dtype, count, data, -1))
        if (found.dtype, found.count) != (dtype, count):
            raise CheckpointInvalid(f"storage {key[:20]} has two types or sizes")
        return found

    with memoryview(data) as whole:
        found, place = [], 0
        for _ in range(5):
            value, place = read(whole, place, _CALLS, _persistent(storage))
            found.append(value)
            if found[0] != _MAGIC:
                raise CheckpointInvalid("the file is a pickle, but not one that torch.save wrote")
    _, protocol, system, content, keys = found
    if protocol != _PROTOCOL or not isinstance(keys, list) or not isinstance(system, dict):
        raise CheckpointInvalid("the file is a pickle, but not one that torch.save wrote")
    if system.get("little_endian") is not True:
        raise CheckpointInvalid("the numbers are in another byte order; expected little-endian")
    _place(storages, keys, data, place)
    return content


def _place(storages: Mapping[str, Storage], keys: list[Any], data: mmap.mmap, place: int) -> None:
    """Note where each storage begins: they follow each other in the order of ``keys``, counts in front."""
    if sorted(map(str, keys)) != sorted(storages):
        raise CheckpointInvalid("the list of storages is not that of its tensors")
    for key in map(str, keys):
        storage, header = storages[key], data[place : place + 8]
        storage.begin = place + 8
        place = storage.begin + storage.count * num_bytes(storage.dtype)
        if len(header) != 8 or place > len(data):
            raise CheckpointInvalid("the file is cut short")
        if struct.unpack("<q", header) != (storage.count,):
            raise CheckpointInvalid(f"storage {key[:20]} has another size than its tensors say")
    if place != len(data):
        raise CheckpointInvalid(f"the file has {len(data)} bytes; expected {place}")


def _persistent(place: _Place) -> Callable[[object], object]:
    """The targets of torch's persistent ids: storages and, in old files, classes with their source."""

    def stands_for(pid: object) -> object:
        match pid:
            case ("module", Global() as kind, *_):
                return kind
            case ("storage", Global() as kind, str() as key, _, int() as count, *view):
                if kind.name not in _DTYPES or count < 0 or any(part is not None for part in view):
                    raise CheckpointInvalid(f"numbers of a kind that is not supported: {kind.name[:60]}")
                return place(key, _DTYPES[kind.name], count)
        raise CheckpointInvalid("the pickle refers to something that no checkpoint needs")

    return stands_for


def _tensor(storage: object, offset: object, shape: object, strides: object, *_: object) -> Tensor:
    if not (isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)):
        raise CheckpointInvalid("the checkpoint describes an impossible tensor")
    return storage.tensor(shape, strides, offset)  # type: ignore[arg-type]  # checked there


def _elements(given: object = ()) -> list[Any]:
    if not isinstance(given, list | tuple):
        raise CheckpointInvalid("the pickle is damaged")
    return list(given)


def _dictionary(pairs: object = ()) -> dict[Any, Any]:
    elements = _elements(pairs)
    distinct([pair[0] for pair in elements])
    return dict(elements)


# All that takes part in making tensors; none of it is torch's.
_CALLS: Mapping[str, Call] = {
    "collections.OrderedDict": _dictionary,
    "builtins.set": lambda elements=(): distinct(_elements(elements)),
    "torch.Size": lambda lengths=(): tuple(_elements(lengths)),
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
}
