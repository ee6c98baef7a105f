"""What many tests share: model files, photographs, and servers on loopback."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import numpy as np
import onnx
import pytest
import skimage.data
import uvicorn
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from sightline.models import clip, mtcnn, places
from sightline.runtime.residency import wanted
from sightline.server.app import create_app, wrapped
from sightline.settings import Settings
from sightline.types import Provenance
from sightline.weights.store import Installed, Store

# Names that settings have besides SIGHTLINE_*.
REPLACED_VARIABLES = ("API_KEY", "PORT", "HF_TOKEN", "HF_ENDPOINT", "CSRF_SECRET", "NEXTJS_DOMAIN")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests see neither the developer's environment nor a .env file."""
    import os

    for name in list(os.environ):
        if name.startswith("SIGHTLINE_") or name in REPLACED_VARIABLES:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


# -- photographs -------------------------------------------------------------------------------------------


def as_jpeg(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **{"quality": 95, **options})
    return buffer.getvalue()


@pytest.fixture(scope="session")
def portrait() -> bytes:
    """A real portrait, 512×512, one face: the astronaut Eileen Collins."""
    return as_jpeg(skimage.data.astronaut())


@pytest.fixture(scope="session")
def cup() -> bytes:
    """A real photograph without a face, 600×400."""
    return as_jpeg(skimage.data.coffee())


# -- models ------------------------------------------------------------------------------------------------


def small_clip_graph(path: Path) -> None:
    """A graph with the signature of the exporter's image tower and a few random weights.

    It averages 32×32 patches and projects them: real arithmetic on real pixels, in a millisecond.
    """
    generator = np.random.default_rng(7)
    kernel = generator.normal(0, 0.02, (16, 3, 32, 32)).astype(np.float32)
    projection = generator.normal(0, 0.1, (16 * 49, 512)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "full"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["patches"], strides=[32, 32]),
        helper.make_node("Flatten", ["patches"], ["flat"]),
        helper.make_node("MatMul", ["flat", "projection"], ["image_embeds"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 224, 224, 3])],
        [helper.make_tensor_value_info("image_embeds", TensorProto.FLOAT, ["batch", 512])],
        [
            numpy_helper.from_array(np.array(255, np.float32), "full"),
            numpy_helper.from_array(kernel, "kernel"),
            numpy_helper.from_array(projection, "projection"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with MTCNN's real weights and a CLIP B/32 image tower of random ones."""
    root = tmp_path_factory.mktemp("models")
    store = Store(root, allow_random=True)
    (detector,) = mtcnn.MODELS
    store.pull(wanted(detector))
    tower = next(each for each in clip.MODELS if each.name == "clip-vit-b-32")
    folder = tmp_path_factory.mktemp("clip")
    small_clip_graph(folder / "image.onnx")
    store.adopt(wanted(tower), folder, Provenance.RANDOM, "seed 7")
    return root


@pytest.fixture(scope="session")
def installed_places(models_dir: Path) -> Installed:
    """The towns and outlines of the world, in the same store."""
    (definition,) = places.MODELS
    return Store(models_dir).pull(wanted(definition))


@pytest.fixture
def settings(models_dir: Path) -> Settings:
    """Settings under which nothing is downloaded and random weights are answered with."""
    return settings_with(models_dir)


def settings_with(models_dir: Path, **changes: object) -> Settings:
    return Settings(
        **{
            "models_dir": models_dir,
            "offline": True,
            "allow_random_weights": True,
            "lame_duck_s": 0,
            **changes,
        }
    )


CAPTIONER = """
import os, time
from sightline.models import ModelCard, ModelDefinition
from sightline.types import Capability

class StandIn:
    def prepare(self, subject):
        return round(subject.view.pixels().mean()), subject.max_length

    def infer(self, items):
        with open(os.environ.get("STAND_IN_BATCHES", os.devnull), "a") as file:
            file.write(f"{len(items)}\\n")
        time.sleep(float(os.environ.get("STAND_IN_PAUSE_S", "0")))
        if any(grey == 13 for grey, _ in items):
            raise ValueError("unlucky")
        return [f"all of grey {grey} in {length} words" for grey, length in items]

MODELS = (
    ModelDefinition(
        ModelCard(
            name="stand-in", capabilities=frozenset({Capability.CAPTION}), description="d", licence="CC0-1.0",
            homepage="https://example.org", preprocessing="p1", parameters=0, multiply_adds=0, max_batch=4,
        ),
        lambda files, graphs: StandIn(),
    ),
)
"""


@pytest.fixture
def with_captioner() -> Callable[[Path], Path]:
    """Adds a captioning model to a plug-in folder: ``stand-in`` says how grey a picture is.

    It fails on 13, and obeys two variables of the environment: ``STAND_IN_PAUSE_S`` and ``STAND_IN_BATCHES``,
    a file for the sizes of its batches.
    """

    def add(folder: Path) -> Path:
        (folder / "models").mkdir(parents=True, exist_ok=True)
        (folder / "models" / "stand_in.py").write_text(CAPTIONER)
        return folder

    return add


# In order of the names, these come before the built-in models of the same space.
COLOURS = """
import os
import numpy as np
from sightline.models import ModelCard, ModelDefinition
from sightline.types import Capability

def towards(direction, length):
    vector = np.zeros(4, np.float32)
    vector[direction] = length
    vector[3] = 1
    return vector

class Looker:
    # Red is a map, green is from above, blue is neither, grey is a bit of all.
    def prepare(self, view):
        pixels = view.pixels().reshape(-1, 3).mean(0)
        if os.environ.get("UNLUCKY"):
            raise ValueError("a secret of the code")
        return np.append(pixels / 255, 1).astype(np.float32)

    def infer(self, items):
        return list(items)

class Reader:
    def prepare(self, text):
        with open(os.environ.get("TEXTS_READ", os.devnull), "a") as file:
            file.write(text + "\\n")
        if "aerial" in text or "satellite" in text or "above" in text and "drawing" not in text:
            return towards(1, 0.2)
        return towards(0, 0.2) if "map" in text or "plan" in text or "drawing" in text else towards(2, 0.2)

    def infer(self, items):
        return list(items)

def card(name, capability):
    return ModelCard(
        name=name, capabilities=frozenset({capability}), description="d", licence="CC0-1.0",
        homepage="https://example.org", preprocessing="p", parameters=0, multiply_adds=0,
        space="clip-vit-b-32", similarity_scale=100.0,
    )

MODELS = (
    ModelDefinition(card("a-looker", Capability.IMAGE_EMBEDDING), lambda files, graphs: Looker()),
    ModelDefinition(card("a-reader", Capability.TEXT_EMBEDDING), lambda files, graphs: Reader()),
)
"""


@pytest.fixture
def with_colours() -> Callable[[Path], Path]:
    """Adds both halves of a CLIP to a plug-in folder, for the texts of the label set ``map-or-aerial``: to it
    red pictures are maps, green ones are from above, and blue ones neither.

    Two variables of the environment: ``TEXTS_READ``, a file for the texts that were read, and ``UNLUCKY``,
    which makes pictures fail.
    """

    def add(folder: Path) -> Path:
        (folder / "models").mkdir(parents=True, exist_ok=True)
        (folder / "models" / "colours.py").write_text(COLOURS)
        return folder

    return add


@pytest.fixture
def grey_image() -> Callable[..., Path]:
    """Writes a picture of one grey and gives back its path."""

    def write(path: Path, grey: int = 100) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        kinds = {".jpg": "JPEG", ".gif": "GIF", ".tif": "TIFF", ".webp": "WEBP", ".bmp": "BMP"}
        Image.new("RGB", (8, 6), (grey, grey, grey)).save(path, kinds.get(path.suffix.lower(), "PNG"))
        return path

    return write


# -- servers -----------------------------------------------------------------------------------------------


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """The base URL of a real server in a thread, with the middleware it is served with."""
    app = create_app(settings)
    config = uvicorn.Config(
        wrapped(app, settings),
        port=0,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive(), "the server ended"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        assert not thread.is_alive(), "the server did not stop"


@pytest.fixture(scope="session")
def base_url(models_dir: Path) -> Iterator[str]:
    """One server for all tests that change no settings."""
    with serving(settings_with(models_dir)) as url:
        yield url


@pytest.fixture
def client(base_url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=base_url, timeout=20, trust_env=False) as client:
        yield client


@pytest.fixture
def serve(models_dir: Path) -> Iterator[Callable[..., httpx2.Client]]:
    """Start a server with changed settings: ``serve(api_keys=("k",))`` gives its client."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(**changes: object) -> httpx2.Client:
            url = stack.enter_context(serving(settings_with(models_dir, **changes)))
            return stack.enter_context(httpx2.Client(base_url=url, timeout=20, trust_env=False))

        yield start
