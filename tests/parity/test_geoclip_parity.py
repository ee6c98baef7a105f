"""GeoCLIP beside the geoclip library: one full-size random backbone, its real heads, ten pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

torch = pytest.importorskip("torch", reason="parity is checked in the parity environment (make parity)")
geoclip = pytest.importorskip("geoclip")

from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil  # noqa: E402

from sightline.capabilities.geolocation import Geolocation  # noqa: E402
from sightline.imaging import ImageLimits, View, open_picture  # noqa: E402
from sightline.models import GraphOptions, clip  # noqa: E402
from sightline.models.geoclip import load  # noqa: E402
from sightline.runtime.graphs import Graphs  # noqa: E402
from sightline.settings import Precision, Settings  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(1800)]

TOP_K = 5
PICTURES: Mapping[str, Callable[[], np.ndarray]] = {
    "astronaut": data.astronaut,
    "cat": data.chelsea,
    "cup": data.coffee,
    "rocket": data.rocket,  # odd margin once resized
    "deep field": data.hubble_deep_field,
    "retina": data.retina,
    "tissue": data.immunohistochemistry,
    "photographer": data.camera,
    "coins": data.coins,
    "upright cup": lambda: np.rot90(data.coffee()),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for name, pixels in PICTURES.items():
        Image.fromarray(pixels()).convert("RGB").save(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in PICTURES]


@pytest.fixture(scope="module")
def files(clip_l_14: Any) -> Mapping[str, Path]:
    """Installed as ``sightline models pull geoclip`` does it, the heads from the wheel."""
    found: Mapping[str, Path] = clip_l_14.pull("geoclip").installed.files
    return found


@pytest.fixture(scope="module")
def original(clip_l_14: Any) -> Any:
    """The library's own model with the same backbone.

    It encodes its gallery for each picture; here it does that once, which changes no number.
    """
    model = geoclip.GeoCLIP(clip_pretrained=False).eval()
    backbone, tower = model.image_encoder.CLIP, clip_l_14.original
    backbone.vision_model.load_state_dict(tower.vision_model.state_dict())
    backbone.visual_projection.load_state_dict(tower.visual_projection.state_dict())
    model.image_encoder.image_processor = CLIPImageProcessorPil()
    with torch.no_grad():
        encoded = torch.cat([model.location_encoder(part) for part in model.gps_gallery.split(5000)])
    model.location_encoder.forward = lambda gallery: encoded
    return model


@pytest.fixture(scope="module")
def wanted(original: Any, pictures: list[Path]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Coordinates [k, 2] and probabilities [k] for each picture."""
    answers = [original.predict(str(path), top_k=TOP_K) for path in pictures]
    return [(places.numpy(), probabilities.numpy()) for places, probabilities in answers]


def located(files: Mapping[str, Path], pictures: list[Path], precision: Precision) -> list[Geolocation]:
    model = load(files, partial(Graphs(Settings()), options=GraphOptions(precision)))
    limits = ImageLimits(10**8, 10**8, 10**5)
    items = [model.prepare(View(open_picture(path.read_bytes(), limits))) for path in pictures]
    return [found for start in range(0, len(items), 4) for found in model.infer(items[start : start + 4])]


def places(found: Geolocation) -> np.ndarray:
    listed = [each.coordinate for each in found.candidates[:TOP_K]]
    return np.array([(each.latitude, each.longitude) for each in listed], np.float32)


def test_the_same_places_with_the_same_probabilities(
    files: Mapping[str, Path], pictures: list[Path], wanted: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    answers = located(files, pictures, Precision.F32)
    for path, found, (coordinates, probabilities) in zip(pictures, answers, wanted, strict=True):
        ours = np.array([each.probability for each in found.candidates[:TOP_K]])
        print(f"{path.stem:14} {np.abs(ours / probabilities - 1).max():.1e}  {coordinates[0]} {ours[0]:.2e}")
        np.testing.assert_array_equal(places(found), coordinates, path.stem)
        np.testing.assert_allclose(ours, probabilities, rtol=0.01, err_msg=path.stem)
    assert len({tuple(coordinates[0]) for coordinates, _ in wanted}) > 1, (
        "pictures of one answer prove little"
    )


def test_default_precision_finds_the_same_first_place(
    files: Mapping[str, Path], pictures: list[Path], wanted: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    answers = located(files, pictures, Precision.AUTO)
    same = [
        np.array_equal(places(found)[0], coordinates[0])
        for found, (coordinates, _) in zip(answers, wanted, strict=True)
    ]
    print(f"same first place: {sum(same)} of {len(same)}")
    assert sum(same) >= 9


def test_the_gallery_is_the_librarys(files: Mapping[str, Path], original: Any) -> None:
    gallery = np.load(files["gallery.npy"], mmap_mode="r")
    encoded = torch.nn.functional.normalize(original.location_encoder(None), dim=1).numpy()
    difference = float(np.abs(gallery - encoded).max())
    print(f"gallery differs by {difference:.1e} at most")
    # The library's float32 angles of up to 5,554 radians are off by as much.
    assert difference < 5e-4


def test_the_gallery_is_what_the_library_computes_in_float64(files: Mapping[str, Path]) -> None:
    some = slice(None, None, 200)
    places = torch.tensor(np.load(files["coordinates.npy"])[some], dtype=torch.float32)
    with torch.no_grad():
        encoded = geoclip.LocationEncoder().double()(places.double())
    exact = torch.nn.functional.normalize(encoded, dim=1).numpy()
    gallery = np.load(files["gallery.npy"], mmap_mode="r")[some]
    print(f"gallery differs by {np.abs(gallery - exact).max():.1e} from float64")
    np.testing.assert_allclose(gallery, exact, atol=1e-6)


def test_its_own_preparation_of_pixels(
    files: Mapping[str, Path], original: Any, pictures: list[Path]
) -> None:
    """Pixel by pixel, with the processor that resizes with PIL."""
    model = load(files, partial(Graphs(Settings()), options=GraphOptions(Precision.F32)))
    for path in pictures:
        with Image.open(path) as image:
            theirs = original.image_encoder.preprocess_image(image).numpy()
        item = model.prepare(View(open_picture(path.read_bytes(), ImageLimits(10**8, 10**8, 10**5))))
        np.testing.assert_allclose(clip.SQUARE.normalise(item[None]), theirs, atol=1e-5, err_msg=path.stem)
