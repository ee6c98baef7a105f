"""The model on a small gallery and a graph of a few lines; full size is compared in ``tests/parity``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.errors import CheckpointInvalid, ModelBroken
from sightline.imaging import ImageLimits, View, encode_png, open_picture
from sightline.models import TensorSpec
from sightline.models.geoclip import CARD, load
from sightline.models.geoclip.head import MLP_FILE, SCALE_FILE, build_head, read_head
from sightline.models.geoclip.prediction import GeoClip

WIDTH, DIMENSIONS, NUM_POINTS = 6, 4, 50
GENERATOR = np.random.default_rng(5)
HEAD = {
    "first_weight": GENERATOR.normal(0, 1, (WIDTH, WIDTH)).astype(np.float32),
    "first_bias": GENERATOR.normal(0, 1, WIDTH).astype(np.float32),
    "second_weight": GENERATOR.normal(0, 1, (DIMENSIONS, WIDTH)).astype(np.float32),
    "second_bias": GENERATOR.normal(0, 1, DIMENSIONS).astype(np.float32),
    "scale": np.float32(9.5),
}
GALLERY = GENERATOR.normal(0, 1, (NUM_POINTS, DIMENSIONS)).astype(np.float32)
GALLERY /= np.linalg.norm(GALLERY, axis=1, keepdims=True)
COORDINATES = GENERATOR.uniform((-90, -180), (90, 180), (NUM_POINTS, 2))


class Brightness:
    """A graph with the signature of ours: mean and spread of each colour."""

    inputs = (TensorSpec("pixels", "uint8", (None, 224, 224, 3)),)
    outputs = (TensorSpec("image_embeds", "float32", (None, WIDTH)),)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        unit = inputs["pixels"].astype(np.float32) / 255
        return [np.concatenate([unit.mean((1, 2)), unit.std((1, 2))], axis=1)]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    np.savez(tmp_path / "head.npz", **HEAD)
    np.save(tmp_path / "gallery.npy", GALLERY)
    np.save(tmp_path / "coordinates.npy", COORDINATES)
    return {name: tmp_path / name for name in ("head.npz", "gallery.npy", "coordinates.npy", "image.onnx")}


def loaded(files: Mapping[str, Path]) -> GeoClip:
    return load(files, lambda path, **_: Brightness())  # type: ignore[arg-type]


def view(pixels: np.ndarray) -> View:
    return View(open_picture(encode_png(pixels), ImageLimits(10**8, 10**8, 10**5)))


def noise(seed: int, height: int = 224, width: int = 224) -> np.ndarray:
    """Each colour of its own brightness, so that pictures differ."""
    generator = np.random.default_rng(seed)
    return (generator.integers(0, 256, (height, width, 3)) * generator.uniform(0, 1, 3)).astype(np.uint8)


def test_probabilities_are_the_softmax_of_scaled_cosines(files: Mapping[str, Path]) -> None:
    features = GENERATOR.normal(0, 1, (3, WIDTH))
    found = loaded(files).probabilities(features.astype(np.float32))
    hidden = np.maximum(features @ HEAD["first_weight"].T.astype(float) + HEAD["first_bias"], 0)
    vectors = hidden @ HEAD["second_weight"].T.astype(float) + HEAD["second_bias"]
    cosines = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)) @ GALLERY.T
    odds = np.exp(9.5 * cosines)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, odds / odds.sum(1, keepdims=True), rtol=1e-4)


def test_the_answer_names_points_of_the_gallery(files: Mapping[str, Path]) -> None:
    model = loaded(files)
    item = model.prepare(view(noise(1)))
    (found,) = model.infer([item])
    probabilities = model.probabilities(Brightness().run({"pixels": item[None]})[0])[0]
    best = int(probabilities.argmax())
    first = found.candidates[0]
    assert [first.coordinate.latitude, first.coordinate.longitude] == COORDINATES[best].tolist()
    assert first.probability == pytest.approx(float(probabilities[best]))
    assert sum(candidate.probability for candidate in found.candidates) == pytest.approx(1, abs=1e-5)


def test_an_answer_does_not_depend_on_its_batch(files: Mapping[str, Path]) -> None:
    model = loaded(files)
    items = [model.prepare(view(noise(seed))) for seed in range(4)]
    together = model.infer(items)
    alone = [model.infer([item])[0] for item in items]
    assert len({found.candidates[0].probability for found in together}) > 1
    for one, other in zip(together, alone, strict=True):
        assert [c.coordinate for c in one.candidates[:5]] == [c.coordinate for c in other.candidates[:5]]
        assert one.candidates[0].probability == pytest.approx(other.candidates[0].probability, rel=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "top", "left"), [(224, 227, 0, 1), (229, 224, 2, 0), (224, 224, 0, 0)]
)
def test_the_square_starts_where_the_reference_cuts_it(
    height: int, width: int, top: int, left: int, files: Mapping[str, Path]
) -> None:
    """An odd margin is rounded down; torchvision's crop would begin at 2 for a width of 227."""
    pixels = noise(2, height, width)
    item = loaded(files).prepare(view(pixels))
    np.testing.assert_array_equal(item, pixels[top : top + 224, left : left + 224])
    assert item.base is None, "a queued item must not keep the picture it was cut from"


def test_a_part_of_a_picture(files: Mapping[str, Path]) -> None:
    item = loaded(files).prepare(view(noise(3, 500, 300)))
    assert item.shape == (224, 224, 3)
    assert item.dtype == np.uint8


def without(name: str, values: Any) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, values)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (without("gallery.npy", GALLERY[:-1]), "gallery must be float32"),
        (without("gallery.npy", GALLERY.astype(np.float64)), "gallery must be float32"),
        (without("gallery.npy", GALLERY[:, :3]), "gallery must be float32"),
        (without("coordinates.npy", COORDINATES[:, :1]), "latitude and a longitude"),
        (without("coordinates.npy", COORDINATES[:0]), "latitude and a longitude"),
        (lambda folder: (folder / "gallery.npy").write_bytes(b"hello"), r"gallery\.npy does not load"),
        (lambda folder: (folder / "head.npz").write_bytes(b"hello"), r"head\.npz does not load"),
        (lambda folder: np.savez(folder / "head.npz", scale=1), r"head\.npz does not load"),
        (
            lambda folder: np.savez(folder / "head.npz", **{**HEAD, "first_bias": np.ones(9)}),
            "do not fit together",
        ),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    spoil: Callable[[Path], None], reason: str, files: Mapping[str, Path], tmp_path: Path
) -> None:
    spoil(tmp_path)
    with pytest.raises(ModelBroken, match=reason):
        loaded(files)


def test_another_backbone_is_refused(files: Mapping[str, Path], tmp_path: Path) -> None:
    np.savez(tmp_path / "head.npz", **{**HEAD, "first_weight": np.ones((WIDTH, 9), np.float32)})
    model = loaded(files)
    with pytest.raises(ModelBroken, match="must have 9 numbers"):
        model.infer([model.prepare(view(noise(1)))])


def test_the_released_head(released: Mapping[str, Path], tmp_path: Path) -> None:
    build_head(released, tmp_path / "head.npz", lambda *_: None)
    head = read_head(tmp_path / "head.npz")
    assert (head.input_dimensions, head.output_dimensions) == (768, 512)
    assert float(head.scale) == pytest.approx(39.687442779541016)  # exp(3.681034803390503)
    vectors = head.embedded(np.random.default_rng(0).normal(0, 1, (2, 768)))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    # Two builds are one file: its digest is part of the model's fingerprint.
    build_head(released, tmp_path / "again.npz", lambda *_: None)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "head.npz").read_bytes()


def test_the_heads_of_something_else_are_refused(released: Mapping[str, Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointInvalid, match="not those of GeoCLIP"):
        build_head({**released, MLP_FILE: released[SCALE_FILE]}, tmp_path / "head.npz", lambda *_: None)


def test_the_card_counts_what_the_wheel_holds(released: Mapping[str, Path]) -> None:
    from sightline.weights.checkpoints import read_arrays

    heads = [read_arrays(path) for name, path in released.items() if name.endswith(".pth")]
    numbers = sum(array.size for head in heads for array in head.values())
    assert CARD.parameters == 303_966_208 + numbers
