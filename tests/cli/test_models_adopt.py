"""Files of the user's own for a model: the real commands on the real detector of animals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

NAME = "megadetector-v5a"


def detector(path: Path, outputs: int = 8, side: int = 64) -> Path:
    """An ONNX file that sees one thing of no likelihood, whatever it is shown."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "shape"], ["one"]),
        helper.make_node("Expand", ["one", "wide"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, outputs])],
        [
            numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
            numpy_helper.from_array(np.array([1, 1, 1]), "shape"),
            numpy_helper.from_array(np.array([1, 1, outputs]), "wide"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def listed(sightline: Callable[..., Any], name: str = NAME) -> dict[str, Any]:
    return next(
        row for row in json.loads(sightline("models", "list", "--json").stdout) if row["name"] == name
    )


def test_a_file_of_the_users_is_taken(sightline, tmp_path: Path) -> None:
    path = detector(tmp_path / "md_v5a_small.onnx")
    result = sightline("models", "adopt", NAME, f"detector.onnx={path}")
    assert result.exit_code == 0, result.output
    row = listed(sightline)
    assert (row["state"], row["provenance"]) == ("installed", "imported")
    assert f"{NAME} is here: imported, fingerprint {row['fingerprint']}" in result.stdout
    manifest = json.loads((tmp_path / "store" / NAME / "manifest.json").read_text())
    assert manifest["origin"] == "files of the user's: md_v5a_small.onnx"
    assert path.is_file(), "the user keeps it"
    assert not list((tmp_path / "store").glob(".adopt-*"))
    assert sightline("models", "verify", NAME).exit_code == 0


def test_a_file_is_replaced_by_another(sightline, tmp_path: Path) -> None:
    sightline("models", "adopt", NAME, f"detector.onnx={detector(tmp_path / 'a.onnx')}")
    first = listed(sightline)["fingerprint"]
    path = detector(tmp_path / "b.onnx", side=128)
    assert sightline("models", "adopt", NAME, f"detector.onnx={path}").exit_code == 0
    assert listed(sightline)["fingerprint"] != first


def test_a_file_that_does_not_fit_changes_nothing(sightline, tmp_path: Path) -> None:
    sightline("models", "adopt", NAME, f"detector.onnx={detector(tmp_path / 'a.onnx')}")
    before = listed(sightline)["fingerprint"]
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    for path in (detector(tmp_path / "many.onnx", outputs=85), tmp_path / "junk.onnx"):
        result = sightline("models", "adopt", NAME, f"detector.onnx={path}")
        assert result.exit_code == 1
        (complaint,) = result.stderr.splitlines()
        assert "does not load with these files" in complaint
        assert complaint.endswith("nothing was changed")
    assert (
        "must answer [N, candidates, 8]"
        in sightline("models", "adopt", NAME, f"detector.onnx={tmp_path / 'many.onnx'}").stderr
    )
    assert listed(sightline)["fingerprint"] == before


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        (
            NAME,
            ["md.onnx"],
            "'md.onnx' is not FILE=PATH with one of megadetector-v5a's: checkpoint.pt, ",
        ),
        (NAME, ["model.onnx=md.onnx"], "with one of megadetector-v5a's: checkpoint.pt, detector.onnx"),
        (NAME, ["detector.onnx=gone.onnx"], "there is no file 'gone.onnx' to take for detector.onnx"),
        (NAME, ["detector.onnx="], "there is no file '' to take"),
        (NAME, ["detector.onnx=here", "detector.onnx=here"], "detector.onnx is given twice"),
        ("mean", ["detector.onnx=here"], "mean needs no files"),
        ("megadetector", ["detector.onnx=here"], "did you mean megadetector-v5a"),
    ],
)
def test_what_is_wrong_is_said(sightline, tmp_path: Path, name: str, files: list[str], message: str) -> None:
    (tmp_path / "here").touch()
    result = sightline("models", "adopt", name, *files)
    assert result.exit_code != 0
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_what_is_not_given_is_fetched(sightline, hub, tmp_path: Path, plugins: Path) -> None:
    """From the sources on the card, here a hub on loopback, and the model is loaded when all is there."""
    source = (plugins / "models" / "mean.py").read_text()
    source = source.replace("weighed", "halves").replace("(NUMBERS,)", '(NUMBERS, Artifact("own.txt", ()))')
    source = source.replace('ModelDefinition(card("mean"), lambda files, graphs: Mean()),', "")
    (plugins / "models" / "halves.py").write_text(source)
    (tmp_path / "mine").write_text("mine")
    result = sightline("models", "adopt", "halves", "own.txt=mine")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "store" / "halves" / "numbers.bin").stat().st_size == 7000
    assert (tmp_path / "store" / "halves" / "own.txt").read_text() == "mine"


def test_what_can_neither_be_given_nor_fetched_is_said(sightline, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a;b;c;d;e;f;g\n")
    result = sightline("models", "adopt", "speciesnet-v4.0.3a", "labels.txt=labels.txt")
    assert result.exit_code == 1
    assert "missing classifier.onnx" in result.stderr
    assert listed(sightline, "speciesnet-v4.0.3a")["state"] == "missing"
