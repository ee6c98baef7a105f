"""Weights files in torch's zip format, written by hand. The older format: with MTCNN's real weights."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sightline.errors import ExportFailed
from sightline.weights.torch_files import read_weights


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def numbers(values: Sequence[int]) -> bytes:
    return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"


def tensor(
    key: str,
    shape: Sequence[int],
    strides: Sequence[int],
    *,
    offset: int = 0,
    storage: str = "FloatStorage",
) -> bytes:
    """The pickle of a tensor as torch writes it, without torch."""
    place = b"(" + text("storage") + b"ctorch\n" + storage.encode() + b"\n" + text(key) + text("cpu")
    place += b"J" + struct.pack("<i", 0) + b"tQ"
    described = place + b"J" + struct.pack("<i", offset) + numbers(shape) + numbers(strides)
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + described
        + b"\x89ccollections\nOrderedDict\n)R"  # requires no gradient, has no hooks
        + b"tR"
    )


def dictionary(entries: Mapping[str, bytes]) -> bytes:
    return b"\x80\x02}(" + b"".join(text(name) + pickled for name, pickled in entries.items()) + b"u."


def write(path: Path, pickled: bytes, storages: Mapping[str, np.ndarray], **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", pickled)
        for key, values in storages.items():
            archive.writestr(f"net/data/{key}", values.astype("<f4").tobytes())
        for name, data in members.items():
            archive.writestr(f"net/{name}", data)
    return path


NUMBERS = np.arange(24, dtype=np.float32)


def test_tensors_of_a_dictionary(tmp_path: Path) -> None:
    pickled = dictionary(
        {
            "weight": tensor("0", (2, 3), (3, 1)),
            "turned": tensor("0", (3, 2), (1, 3)),
            "part": tensor("1", (2,), (1,), offset=1),
        }
    )
    weights = read_weights(write(tmp_path / "w.pth", pickled, {"0": NUMBERS[:6], "1": NUMBERS[6:10]}))
    assert list(weights) == ["weight", "turned", "part"]
    assert weights["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert weights["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert weights["part"].tolist() == [7, 8]
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in weights.values())


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(arrays(np.float32, array_shapes(max_dims=4, max_side=5), elements=st.floats(-9, 9, width=32)))
def test_any_shape_comes_back(tmp_path: Path, array: np.ndarray) -> None:
    strides = [step // 4 for step in array.strides]
    path = write(tmp_path / "w.pth", dictionary({"x": tensor("0", array.shape, strides)}), {"0": array})
    np.testing.assert_array_equal(read_weights(path)["x"], array)


def test_a_lone_number_has_no_name(tmp_path: Path) -> None:
    pickled = b"\x80\x02" + tensor("0", (), ()) + b"."
    weights = read_weights(write(tmp_path / "w.pth", pickled, {"0": NUMBERS[3:4]}))
    assert list(weights) == [""]
    assert weights[""].shape == ()
    assert weights[""] == 3


@pytest.mark.parametrize(
    "pickled",
    [
        pytest.param(b"\x80\x02cos\nsystem\n" + text("true") + b"\x85R.", id="a call"),
        pytest.param(b"\x80\x02cbuiltins\neval\n" + text("1") + b"\x85R.", id="a built-in"),
        pytest.param(b"\x80\x02ctorch.storage\n_load_from_bytes\n.", id="more of torch"),
    ],
)
def test_a_pickle_that_names_anything_else_is_refused(pickled: bytes, tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="refused: the weights file asks for"):
        read_weights(write(tmp_path / "w.pth", pickled, {}))


X = {"x": tensor("0", (2, 3), (3, 1))}


@pytest.mark.parametrize(
    ("entries", "storages", "members", "reason"),
    [
        pytest.param(X, {"0": NUMBERS[:5]}, {}, "larger than its numbers", id="too few numbers"),
        pytest.param(X, {"1": NUMBERS}, {}, "not a weights file", id="no numbers"),
        pytest.param(X, {"0": NUMBERS}, {"byteorder": b"big"}, "another order", id="big-endian"),
        pytest.param({"x": text("hello")}, {}, {}, "other than tensors", id="a string"),
        pytest.param(
            {"x": tensor("0", (2,), (1,), offset=-1)}, {"0": NUMBERS}, {}, "larger than", id="before"
        ),
        pytest.param({"x": tensor("0", (2,), (-1,))}, {"0": NUMBERS}, {}, "impossible", id="backwards"),
        pytest.param({"x": tensor("0", (2,), (1, 1))}, {"0": NUMBERS}, {}, "impossible", id="ranks"),
    ],
)
def test_what_cannot_be_is_refused(
    entries: Mapping[str, bytes],
    storages: Mapping[str, np.ndarray],
    members: Mapping[str, bytes],
    reason: str,
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "w.pth", dictionary(entries), storages, **members)
    with pytest.raises(ExportFailed, match=reason):
        read_weights(path)


def test_numbers_of_another_kind_are_refused(tmp_path: Path) -> None:
    pickled = dictionary({"x": tensor("0", (2,), (1,), storage="HalfStorage")})
    with pytest.raises(ExportFailed, match=r"asks for torch\.HalfStorage"):
        read_weights(write(tmp_path / "w.pth", pickled, {"0": NUMBERS}))


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "w.pth", dictionary(X), {"0": NUMBERS})
    data = path.read_bytes()
    place = data.index(NUMBERS[1:].tobytes())
    path.write_bytes(data[:place] + b"\x01" + data[place + 1 :])
    with pytest.raises(ExportFailed, match="BadZipFile"):
        read_weights(path)


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x05\x06" + bytes(18)], ids=["empty", "text", "zip"])
def test_something_else_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(data)
    with pytest.raises(ExportFailed, match=r"w\.pth is not a weights file"):
        read_weights(path)
