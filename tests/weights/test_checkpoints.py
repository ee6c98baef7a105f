"""Checkpoints in every format, written by hand as their libraries write them, and hostile files."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sightline.errors import CheckpointInvalid
from sightline.weights.checkpoints import Global, Inert, read_checkpoint, read_pickle

NUMBERS = np.arange(24, dtype=np.float32)
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # as every file of torch before 1.6 begins
SYSTEM = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}, 2)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def numbers(values: Sequence[int]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(
    key: str,
    shape: Sequence[int],
    strides: Sequence[int],
    *,
    count: int,
    offset: int = 0,
    kind: str = "FloatStorage",
    view: bytes = b"",
) -> bytes:
    """The pickle of a tensor as torch writes it, without torch."""
    place = b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu")
    place += number(count) + view + b"tQ"
    described = place + number(offset) + numbers(shape) + numbers(strides)
    no_hooks = b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + described + no_hooks + b"tR"


def parameter(pickled: bytes) -> bytes:
    return b"ctorch._utils\n_rebuild_parameter\n(" + pickled + b"\x88ccollections\nOrderedDict\n)RtR"


def entries(pairs: Mapping[str, bytes]) -> bytes:
    return b"(" + b"".join(text(name) + pickled for name, pickled in pairs.items()) + b"u"


def dictionary(pairs: Mapping[str, bytes]) -> bytes:
    return b"}" + entries(pairs)


def module(
    kind: str,
    parameters: Mapping[str, bytes],
    buffers: Mapping[str, bytes],
    children: Mapping[str, bytes],
) -> bytes:
    """As torch pickles a module: an object without its __init__, then its attributes."""
    held = {"_parameters": parameters, "_buffers": buffers, "_modules": children}
    ordered = {name: b"ccollections\nOrderedDict\n)R" + entries(pairs) for name, pairs in held.items()}
    where, _, name = kind.rpartition(".")
    state = dictionary({"training": b"\x89", **ordered})
    return b"c" + where.encode() + b"\n" + name.encode() + b"\n)\x81" + state + b"b"


def whole(pickled: bytes) -> bytes:
    return b"\x80\x02" + pickled + b"."


def write_zip(
    path: Path, pickled: bytes, storages: Mapping[str, np.ndarray], members: Mapping[str, bytes] | None = None
) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", whole(pickled))
        for key, values in storages.items():
            archive.writestr(f"net/data/{key}", values.tobytes())
        for name, data in (members or {}).items():
            archive.writestr(f"net/{name}", data)
    return path


def write_legacy(
    path: Path,
    pickled: bytes,
    storages: Mapping[str, np.ndarray],
    *,
    system: bytes = SYSTEM,
    end: bytes = b"",
) -> Path:
    content = MAGIC + pickle.dumps(1001, 2) + system + whole(pickled) + pickle.dumps(list(storages), 2)
    for values in storages.values():
        content += struct.pack("<q", values.size) + values.tobytes()
    path.write_bytes(content + end)
    return path


def write_safetensors(path: Path, header: Any, numbers: bytes) -> Path:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + numbers)
    return path


WRITERS = pytest.mark.parametrize("write", [write_zip, write_legacy], ids=["zip", "legacy"])


@WRITERS
def test_tensors_of_a_dictionary(write: Callable[..., Path], tmp_path: Path) -> None:
    pickled = dictionary(
        {
            "weight": tensor("7", (2, 3), (3, 1), count=6),
            "turned": tensor("7", (3, 2), (1, 3), count=6),
            "part": parameter(tensor("9", (2,), (1,), offset=1, count=4)),
            "epoch": number(12),
        }
    )
    read = read_checkpoint(write(tmp_path / "w.pt", pickled, {"7": NUMBERS[:6], "9": NUMBERS[6:10]}))
    assert list(read) == ["weight", "turned", "part"]
    assert read["weight"].numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read["turned"].numpy().tolist() == [[0, 3], [1, 4], [2, 5]]
    assert read["part"].numpy().tolist() == [7, 8]
    assert [one.shape for one in read.values()] == [(2, 3), (3, 2), (2,)]
    for one in read.values():
        array = one.numpy()
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert not array.flags.writeable


KINDS = {
    "DoubleStorage": ("F64", "<f8", np.float32),
    "HalfStorage": ("F16", "<f2", np.float32),
    "LongStorage": ("I64", "<i8", np.int64),
    "IntStorage": ("I32", "<i4", np.int32),
    "ShortStorage": ("I16", "<i2", np.int16),
    "CharStorage": ("I8", "i1", np.int8),
    "ByteStorage": ("U8", "u1", np.uint8),
    "BoolStorage": ("BOOL", "?", np.bool_),
}


@WRITERS
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_numbers(kind: str, write: Callable[..., Path], tmp_path: Path) -> None:
    dtype, stored, given_back = KINDS[kind]
    values = np.array([0, 1, 1, 0, 5, 2][: 4 if stored == "?" else 6], stored)
    pickled = dictionary({"x": tensor("0", values.shape, (1,), count=values.size, kind=kind)})
    read = read_checkpoint(write(tmp_path / "w.pt", pickled, {"0": values}))["x"]
    assert read.dtype == dtype
    assert read.numpy().dtype == given_back
    np.testing.assert_array_equal(read.numpy(), values)


@WRITERS
def test_bfloat16_is_the_upper_half_of_a_float(write: Callable[..., Path], tmp_path: Path) -> None:
    halves = np.array([1.0, -2.5, 3.140625], "<f4").view("<u2")[1::2].copy()
    pickled = dictionary({"x": tensor("0", (3,), (1,), count=3, kind="BFloat16Storage")})
    read = read_checkpoint(write(tmp_path / "w.pt", pickled, {"0": halves}))["x"]
    assert read.dtype == "BF16"
    assert read.numpy().tolist() == [1.0, -2.5, 3.140625]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    arrays(np.float32, array_shapes(min_dims=0, max_dims=4, max_side=5), elements=st.floats(-9, 9, width=32))
)
def test_any_shape_comes_back_in_every_format(tmp_path: Path, array: np.ndarray) -> None:
    strides = [step // 4 for step in array.strides]
    pickled = dictionary({"x": tensor("0", array.shape, strides, count=array.size)})
    entry = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [0, array.nbytes]}
    for path in (
        write_zip(tmp_path / "zip", pickled, {"0": array}),
        write_legacy(tmp_path / "legacy", pickled, {"0": array}),
        write_safetensors(tmp_path / "safetensors", {"x": entry}, array.tobytes()),
    ):
        np.testing.assert_array_equal(read_checkpoint(path)["x"].numpy(), array)


def test_a_tensor_without_elements(tmp_path: Path) -> None:
    pickled = dictionary({"x": tensor("0", (0, 3), (3, 1), count=0)})
    read = read_checkpoint(write_zip(tmp_path / "w.pt", pickled, {"0": NUMBERS[:0]}))["x"]
    assert read.numpy().shape == (0, 3)


@WRITERS
def test_a_lone_number_has_no_name(write: Callable[..., Path], tmp_path: Path) -> None:
    read = read_checkpoint(write(tmp_path / "w.pt", tensor("0", (), (), count=1), {"0": NUMBERS[3:4]}))
    assert {name: (one.shape, one.numpy().tolist()) for name, one in read.items()} == {"": ((), 3)}


@WRITERS
def test_modules_become_dotted_names(write: Callable[..., Path], tmp_path: Path) -> None:
    """As in a file of a training: a dictionary with whole modules, of classes that are not here."""
    halves = NUMBERS.astype("<f2")
    weight = parameter(tensor("0", (2, 3), (3, 1), count=24, kind="HalfStorage"))
    running = tensor("0", (4,), (1,), count=24, offset=6, kind="HalfStorage")
    convolution = module("torch.nn.modules.conv.Conv2d", {"weight": weight, "bias": b"N"}, {}, {})
    normalisation = module("torch.nn.modules.batchnorm.BatchNorm2d", {}, {"running_mean": running}, {})
    model = module("models.yolo.DetectionModel", {}, {}, {"0": convolution, "1": normalisation})
    pickled = dictionary({"epoch": number(-1), "model": model, "ema": b"N", "date": text("2022")})
    path = write(tmp_path / "w.pt", pickled, {"0": halves})
    read = read_checkpoint(path)
    assert list(read) == ["model.0.weight", "model.1.running_mean"]
    assert read["model.0.weight"].numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read["model.1.running_mean"].numpy().tolist() == [6, 7, 8, 9]
    content = read_pickle(path)
    assert isinstance(content, dict)
    assert content["model"].name == "models.yolo.DetectionModel"
    assert content["model"].state["training"] is False
    assert content["model"].children["0"].name == "torch.nn.modules.conv.Conv2d"


def test_calls_of_unknown_functions_are_kept_as_data(tmp_path: Path) -> None:
    """As torch.fx pickles a network: a call with the layers and the text of ``forward``."""
    addition = b"c__builtin__\ngetattr\nctorch\n_VariableFunctions\n" + text("add") + b"\x86R"
    body = dictionary(
        {"_code": text("def forward(self, x): ..."), "dtype": b"ctorch\nfloat32\n", "f": addition}
    )
    pickled = b"ctorch.fx.graph_module\nreduce_graph_module\n" + body + text("import os") + b"\x86R"
    content = read_pickle(write_zip(tmp_path / "w.pt", pickled, {}))
    assert isinstance(content, Inert)
    assert content.name == "torch.fx.graph_module.reduce_graph_module"
    body_read, imports = content.args
    assert imports == "import os"
    assert body_read["dtype"] == Global("torch.float32")
    assert body_read["f"].name == "builtins.getattr"
    assert body_read["f"].args == (Global("torch._VariableFunctions"), "add")


class Harm:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@WRITERS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_nothing_in_a_pickle_is_run(protocol: int, write: Callable[..., Path], tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    pickled = pickle.dumps({"x": Harm(mark)}, protocol)
    pickle.loads(pickled)
    mark.rmdir()
    content = read_pickle(write(tmp_path / "w.pt", pickled[:-1], {}))
    assert isinstance(content, dict)
    assert (content["x"].name, content["x"].args) == ("posix.mkdir", (str(mark),))
    assert not mark.exists()
    with pytest.raises(CheckpointInvalid, match="no tensors"):
        read_checkpoint(tmp_path / "w.pt")
    assert not mark.exists()


X = {"x": tensor("0", (2, 3), (3, 1), count=24)}
ALL = {"0": NUMBERS}


@WRITERS
@pytest.mark.parametrize(
    ("pairs", "storages", "reason"),
    [
        pytest.param(X, {"0": NUMBERS[:5]}, "storage 0|cut short", id="too few numbers"),
        pytest.param(X, {"1": NUMBERS}, "storage", id="no numbers"),
        pytest.param({"x": text("hello")}, {}, "no tensors", id="a string"),
        pytest.param({"x": tensor("0", (2,), (1,), offset=-1, count=24)}, ALL, "impossible", id="before"),
        pytest.param({"x": tensor("0", (2,), (-1,), count=24)}, ALL, "impossible", id="backwards"),
        pytest.param({"x": tensor("0", (2,), (1, 1), count=24)}, ALL, "impossible", id="ranks"),
        pytest.param({"x": tensor("0", (1,) * 40, (1,) * 40, count=24)}, ALL, "impossible", id="dimensions"),
        pytest.param({"x": tensor("0", (25,), (1,), count=24)}, ALL, "larger", id="too long"),
        pytest.param({"x": tensor("0", (5, 6), (5, 1), count=24)}, ALL, "larger", id="past the end"),
        pytest.param({"x": tensor("0", (1 << 30,), (0,), count=24)}, ALL, "larger", id="repeated"),
        pytest.param({"x": tensor("0", (2,), (1,), count=-1)}, ALL, "not supported", id="count"),
        pytest.param(
            {"x": tensor("0", (2,), (1,), count=24, kind="QInt8Storage")}, ALL, "QInt8", id="quantised"
        ),
    ],
)
def test_what_cannot_be_is_refused(
    pairs: Mapping[str, bytes],
    storages: Mapping[str, np.ndarray],
    reason: str,
    write: Callable[..., Path],
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "w.pt", dictionary(pairs), storages)
    with pytest.raises(CheckpointInvalid, match=reason) as raised:
        read_checkpoint(path)
    assert "\n" not in str(raised.value)


DEEP = b"\x85" * 200_000


@pytest.mark.parametrize(
    "pickled",
    [
        pytest.param(b"Nr\xff\xff\xff\xffh\x05", id="a memo that is not there"),
        pytest.param(b"}N" + DEEP + b"Ns", id="a deep key"),
        pytest.param(b"}N" + b"2\x86" * 60 + b"Ns", id="a key that doubles"),
        pytest.param(b"N" * (3 << 20), id="too many opcodes"),
        pytest.param(b"\x8b" + struct.pack("<I", 1 << 20) + bytes(1 << 20), id="a huge integer"),
        pytest.param(b"}\x8a\x09" + bytes(8) + b"\x01Ns", id="a huge key"),
        pytest.param(b"\x8d" + struct.pack("<Q", 1 << 62), id="a huge text"),
        pytest.param(b"X\x02\x00\x00\x00\xff\xff", id="not a text"),
        pytest.param(b"\x82\x01", id="the registry of extensions"),
        pytest.param(b"(ios\nsystem\n", id="an old instance"),
        pytest.param(b"Q", id="an empty stack"),
        pytest.param(b"NNb", id="attributes of nothing"),
        pytest.param(b"NQ", id="an unknown reference"),
        pytest.param(b"NN", id="two results"),
        pytest.param(b"ccollections\nOrderedDict\n(NNtR", id="a dictionary of nothing"),
        pytest.param(b"ctorch._utils\n_rebuild_tensor_v2\n)R", id="a tensor of nothing"),
    ],
)
def test_hostile_pickles_are_refused(pickled: bytes, tmp_path: Path) -> None:
    with pytest.raises(CheckpointInvalid):
        read_pickle(write_zip(tmp_path / "w.pt", pickled, {}))


def test_modules_that_hold_each_other_end(tmp_path: Path) -> None:
    itself = b"ca\nM\n)\x81q\x00" + dictionary({"_modules": dictionary({"a": b"h\x00"})}) + b"b"
    with pytest.raises(CheckpointInvalid, match="too deep"):
        read_checkpoint(write_zip(tmp_path / "w.pt", itself, {}))
    doubled = b"}"
    for _ in range(60):
        doubled = b"}" + b"(" + text("a") + doubled + b"q\x00" + text("b") + b"h\x00u"
    with pytest.raises(CheckpointInvalid, match="too many"):
        read_checkpoint(write_zip(tmp_path / "w.pt", doubled, {}))


@pytest.mark.parametrize("name", ["a\nb", "a" * 400, "\x1b[31m"])
def test_a_name_that_cannot_be_shown_is_refused(name: str, tmp_path: Path) -> None:
    pickled = dictionary({name: tensor("0", (2,), (1,), count=24)})
    header = {name: entry("F32", [2], 0, 8)}
    for path in (
        write_zip(tmp_path / "w.pt", pickled, ALL),
        write_safetensors(tmp_path / "w.safetensors", header, bytes(8)),
    ):
        with pytest.raises(CheckpointInvalid) as raised:
            read_checkpoint(path)
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 200


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    x = tensor("0", (2,), (1,), count=24)
    pickled = dictionary({"a": dictionary({"b": x}), "a.b": x})
    with pytest.raises(CheckpointInvalid, match=r"a\.b"):
        read_checkpoint(write_zip(tmp_path / "w.pt", pickled, ALL))


def test_numbers_in_another_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointInvalid, match="little-endian"):
        read_checkpoint(write_zip(tmp_path / "zip", dictionary(X), ALL, {"byteorder": b"big"}))
    system = pickle.dumps({"little_endian": False}, 2)
    with pytest.raises(CheckpointInvalid, match="little-endian"):
        read_checkpoint(write_legacy(tmp_path / "legacy", dictionary(X), ALL, system=system))


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "w.pt", dictionary(X), ALL)
    data = path.read_bytes()
    for place in (data.index(NUMBERS[1:].tobytes()), data.index(b"FloatStorage")):
        path.write_bytes(data[:place] + b"\x01" + data[place + 1 :])
        with pytest.raises(CheckpointInvalid):
            read_checkpoint(path)["x"].numpy()


@WRITERS
def test_a_file_that_is_cut_short_is_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(tmp_path / "w.pt", dictionary(X), ALL)
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointInvalid):
            read_checkpoint(path)


def test_bytes_after_the_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointInvalid, match="bytes; expected"):
        read_checkpoint(write_legacy(tmp_path / "w.pt", dictionary(X), ALL, end=b"\x00"))


def _with(path: Path, *members: tuple[str, bytes, int]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data, compression in members:
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=compression)
    return path


PICKLED = ("net/data.pkl", whole(dictionary(X)), zipfile.ZIP_STORED)
STORED = ("net/data/0", NUMBERS.tobytes(), zipfile.ZIP_STORED)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "reason"),
    [
        pytest.param([PICKLED, (*STORED[:2], zipfile.ZIP_DEFLATED)], "compressed", id="compressed"),
        pytest.param(
            [("net/data.pkl", bytes(1 << 24), zipfile.ZIP_DEFLATED), STORED], "compressed", id="a bomb"
        ),
        pytest.param([PICKLED, STORED, STORED], "twice", id="a member twice"),
        pytest.param([PICKLED, STORED, ("../x", b"", 0)], "outside", id="above its folder"),
        pytest.param([PICKLED, STORED, ("/etc/x", b"", 0)], "outside", id="from the root"),
        pytest.param([PICKLED, STORED, ("other/data.pkl", b"N.", 0)], r"data\.pkl", id="two descriptions"),
        pytest.param([STORED], r"data\.pkl", id="no description"),
    ],
)
def test_archives_that_torch_does_not_write_are_refused(
    members: Sequence[tuple[str, bytes, int]], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointInvalid, match=reason):
        read_checkpoint(_with(tmp_path / "w.pt", *members))


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """One of a megabyte that a thousand names point at."""
    path = _with(tmp_path / "w.pt", PICKLED, *((f"net/data/{n:03}", bytes(5000), 0) for n in range(40)))
    data = bytearray(path.read_bytes())
    first = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    offset = data[first + 42 : first + 46]
    place = first
    while (place := data.find(b"PK\x01\x02", place + 1)) != -1:
        data[place + 42 : place + 46] = offset
        data[place + 20 : place + 28] = struct.pack("<II", 1 << 20, 1 << 20)
    path.write_bytes(data)
    with pytest.raises(CheckpointInvalid):
        read_checkpoint(path)


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_safetensors_of_every_kind(tmp_path: Path) -> None:
    values = {
        "F64": np.array([1.5], "<f8"),
        "F16": np.array([2.5], "<f2"),
        "I64": np.array([-(1 << 40)], "<i8"),
        "I32": np.array([-3], "<i4"),
        "I16": np.array([-4], "<i2"),
        "I8": np.array([-5], "i1"),
        "U64": np.array([1 << 63], "<u8"),
        "U32": np.array([7], "<u4"),
        "U16": np.array([8], "<u2"),
        "U8": np.array([9], "u1"),
        "BOOL": np.array([True]),
    }
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    content = b""
    for dtype, value in values.items():
        header[dtype] = entry(dtype, [1], len(content), len(content) + value.nbytes)
        content += value.tobytes()
    read = read_checkpoint(write_safetensors(tmp_path / "w.safetensors", header, content))
    assert {name: one.dtype for name, one in read.items()} == {name: name for name in values}
    assert {name: one.numpy()[0] for name, one in read.items()} == {n: v[0] for n, v in values.items()}
    assert read["F64"].numpy().dtype == read["F16"].numpy().dtype == np.float32


@pytest.mark.parametrize(
    ("header", "content"),
    [
        pytest.param({"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)}, 12, id="overlap"),
        pytest.param({"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 12, 20)}, 20, id="gap"),
        pytest.param({"a": entry("F32", [2], 0, 8)}, 12, id="bytes after the end"),
        pytest.param({"a": entry("F32", [2], 0, 8)}, 7, id="cut short"),
        pytest.param({"a": entry("F32", [3], 0, 8)}, 8, id="too few bytes"),
        pytest.param({"a": entry("F32", [-2, -1], 0, 8)}, 8, id="negative lengths"),
        pytest.param({"a": entry("F32", [2], 8, 0)}, 8, id="backwards"),
        pytest.param({"a": entry("F32", [1 << 62, 1 << 62], 0, 8)}, 8, id="too large"),
        pytest.param({"a": entry("F32", [2.0], 0, 8)}, 8, id="a broken length"),  # type: ignore[list-item]
        pytest.param({"a": entry("F32", [True, 2], 0, 8)}, 8, id="a truth for a length"),
        pytest.param({"a": entry("F8_E4M3", [8], 0, 8)}, 8, id="an unsupported type"),
        pytest.param({"a": {"dtype": "F32", "shape": [2]}}, 8, id="no place"),
        pytest.param({"a": 7}, 0, id="not an entry"),
        pytest.param('{"a":' + "[" * 100_000, 0, id="nested"),
        pytest.param('{"a": 1', 0, id="not JSON"),
        pytest.param('{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},' * 2, 1, id="not JSON either"),
    ],
)
def test_safetensors_that_cannot_be_are_refused(header: Any, content: int, tmp_path: Path) -> None:
    with pytest.raises(CheckpointInvalid) as raised:
        read_checkpoint(write_safetensors(tmp_path / "w.safetensors", header, bytes(content)))
    assert "\n" not in str(raised.value)


def test_a_name_twice_in_safetensors_is_refused(tmp_path: Path) -> None:
    one = '"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
    with pytest.raises(CheckpointInvalid, match="twice"):
        read_checkpoint(write_safetensors(tmp_path / "w", "{" + one + "," + one + "}", b"\x00"))


def test_a_header_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w"
    for length in (1000, 1 << 40, 0):
        path.write_bytes(struct.pack("<Q", length) + b'{"a": 1}')
        with pytest.raises(CheckpointInvalid):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello", "another kind"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (b"PK\x05\x06" + bytes(18), "another kind"),
        (b"PK\x03\x04" + bytes(100), "zip"),
        (pickle.dumps({"x": 1}, 2), "not one that"),
    ],
    ids=["empty", "text", "page", "pointer", "empty zip", "damaged zip", "pickle"],
)
def test_something_else_is_refused(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(data)
    for read in (read_checkpoint, read_pickle):
        with pytest.raises(CheckpointInvalid, match=reason):
            read(path)
