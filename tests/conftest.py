"""What many tests share: model files, photographs, and servers on loopback."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import hypothesis
import numpy as np
import onnx
import pytest
import skimage.data
import uvicorn
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from sightline.models import clip, mtcnn, places
from sightline.runtime.residency import wanted
from sightline.server.app import create_app, server_config
from sightline.settings import Settings
from sightline.settings import serving as serving_settings
from sightline.types import Provenance
from sightline.weights.store import Installed, Store

# Names that settings have besides SIGHTLINE_*.
REPLACED_VARIABLES = (
    *("API_KEY", "PORT", "HF_TOKEN", "HF_ENDPOINT", "CSRF_SECRET", "NEXTJS_DOMAIN"),
    *("GOOGLE_API_KEY", "GEMINI_API_KEY", "GEMINI_MODEL", "GOOGLE_GEMINI_BASE_URL"),
    *("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"),
    *("ALLOWED_ORIGINS", "ALLOWED_HOSTS", "FORCE_HTTPS", "ENABLE_API_DOCS"),
    *("RATE_LIMIT_REQUESTS", "RATE_LIMIT_WINDOW_SECONDS"),
)


# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("sightline", deadline=None)
hypothesis.settings.load_profile("sightline")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests see neither the developer's environment nor a .env file nor API keys."""
    import os

    for name in list(os.environ):
        if name.startswith("SIGHTLINE_") or name in REPLACED_VARIABLES:
            monkeypatch.delenv(name)
    monkeypatch.setattr(serving_settings, "_default_keys_file", lambda: tmp_path / "none" / "keys.json")
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
    """A graph with the signature of the image tower and a few random weights.

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


DETECTOR_SIDE = 128


def small_detector_graph(path: Path, seed: int = 7) -> None:
    """A graph with the usual signature of MegaDetector, for squares of 128 pixels, and a few random weights.

    It sees a thing or none in each patch of 16 pixels, by real arithmetic on real pixels in a millisecond.
    """
    generator = np.random.default_rng(seed)
    cells = DETECTOR_SIDE // 16
    kernel = generator.normal(0, 0.4, (8, 3, 16, 16)).astype(np.float32)
    centres = (np.indices((cells, cells))[::-1].reshape(2, -1).T * 16 + 8).astype(np.float32)
    offsets = np.zeros((1, cells * cells, 8), np.float32)
    offsets[0, :, :2], offsets[0, :, 2:4] = centres - 2, 8
    constants = {
        "kernel": kernel,
        "flat": np.array([0, 8, -1]),
        "scales": np.array([4, 4, 4, 4, 1, 1, 1, 1], np.float32),
        "offsets": offsets,
    }
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["patches"], strides=[16, 16]),
        helper.make_node("Reshape", ["patches", "flat"], ["channels"]),
        helper.make_node("Transpose", ["channels"], ["candidates"], perm=[0, 2, 1]),
        helper.make_node("Sigmoid", ["candidates"], ["shares"]),
        helper.make_node("Mul", ["shares", "scales"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offsets"], ["output"]),
    ]
    side = DETECTOR_SIDE
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", cells * cells, 8])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.fixture(scope="session")
def detector_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small graph for ``megadetector-v5a``."""
    path = tmp_path_factory.mktemp("detector") / "small.onnx"
    small_detector_graph(path)
    return path


@pytest.fixture(scope="session")
def require_same_pixels() -> Callable[[np.ndarray, np.ndarray], None]:
    """Levels are those of Pillow, but for the last bit of a few: see ``imaging.resampling``."""

    def require(found: np.ndarray, expected: np.ndarray) -> None:
        assert found.dtype == np.uint8
        difference = np.abs(found.astype(int) - expected)
        assert difference.max() <= 2
        assert difference.mean() < 0.02 or difference.size < 10_000

    return require


@pytest.fixture
def noisy_photos() -> Callable[[Path, int], Path]:
    """Writes so many different pictures of noise into a folder, 200 × 150 pixels, and gives it back."""

    def write(folder: Path, photos: int) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(photos):
            noise = np.random.default_rng(number).integers(0, 256, (15, 20, 3), np.uint8)
            Image.fromarray(noise).resize((200, 150), Image.Resampling.BICUBIC).save(
                folder / f"{number:02}.png"
            )
        return folder

    return write


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
            "rate_limit_requests": 0,
            **changes,
        }
    )


CAPTIONER = """
import os, time
from sightline.models import ModelCard, ModelDefinition
from sightline.capabilities.caption import CAPTION

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
            name="stand-in", capabilities=frozenset({CAPTION}), description="d", licence="CC0-1.0",
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
from sightline.capabilities.embedding import IMAGE_EMBEDDING, TEXT_EMBEDDING

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
    ModelDefinition(card("a-looker", IMAGE_EMBEDDING), lambda files, graphs: Looker()),
    ModelDefinition(card("a-reader", TEXT_EMBEDDING), lambda files, graphs: Reader()),
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


WILDLIFE = """
import os, time
from sightline.models import ModelCard, ModelDefinition
from sightline.capabilities.detection import ANIMAL_BOXES
from sightline.capabilities.places import PLACES, Place
from sightline.capabilities.species import SPECIES, SPECIES_ENSEMBLE, SpeciesScores, SpeciesVerdict
from sightline.types import Box, Detection

LABELS = tuple(f"{n};mammalia;carnivora;felidae;panthera;cat{n};cat {n}" for n in range(5))

class Detector:
    def prepare(self, view):
        return round(view.pixels().mean())

    def infer(self, items):
        with open(os.environ.get("STAND_IN_BATCHES", os.devnull), "a") as file:
            file.write(f"{len(items)}\\n")
        time.sleep(float(os.environ.get("STAND_IN_PAUSE_S", "0")))
        if 13 in items:
            raise ValueError("unlucky")
        found = [
            Detection(Box(0, 0, 4, 3), 2 / 3, "animal"),
            Detection(Box(4, 3, 8, 6), 1 / 3, "human"),
            Detection(Box(0, 0, 8, 6), 0.0123456, "vehicle"),
        ]
        return [found[: grey % 4] for grey in items]

class Classifier:
    def prepare(self, view):
        return view.pixels().mean() / 255

    def infer(self, items):
        return [SpeciesScores(LABELS, (item, item / 2, item / 4, item / 8, item / 16)) for item in items]

class Ensemble:
    def prepare(self, request):
        return request

    def infer(self, items):
        return [[self.verdict(each, item.country) for each in item.sightings] for item in items]

    def verdict(self, sighting, country):
        scores = sighting.scores
        return SpeciesVerdict(f"{scores.labels[0]} of {country}", scores.scores[0], sighting.label)

class Places:
    def prepare(self, coordinate):
        return coordinate

    def infer(self, items):
        return [Place("Town", "", "TZ" if item.latitude < -5 else "KE", 1.0) for item in items]

def model(name, capability, kind, **more):
    card = ModelCard(
        name=name, capabilities=frozenset({capability}), description="d", licence="CC0-1.0",
        homepage="https://example.org", preprocessing=os.environ.get("STAND_IN_TAG", "p1"), parameters=0,
        multiply_adds=0, max_batch=4, **more,
    )
    return ModelDefinition(card, lambda files, graphs: kind())

MODELS = (
    model("a-detector", ANIMAL_BOXES, Detector),
    model("a-classifier", SPECIES, Classifier, space="v4.0.3a"),
    model("an-ensemble", SPECIES_ENSEMBLE, Ensemble, space="v4.0.3a"),
    model("a-gazetteer", PLACES, Places),
)
"""


@pytest.fixture
def with_wildlife() -> Callable[[Path], Path]:
    """Adds models to a plug-in folder that stand for a release of SpeciesNet.

    In a picture of grey g they find g % 4 things, none surer than 2/3; each is "cat 0" with a score of
    g / 255, "of" the country. They fail on 13, tell Kenya and Tanzania apart by latitude, and obey
    ``STAND_IN_PAUSE_S`` and ``STAND_IN_BATCHES`` as the captioner, and ``STAND_IN_TAG``, which is part of
    their fingerprints.
    """

    def add(folder: Path) -> Path:
        (folder / "models").mkdir(parents=True, exist_ok=True)
        (folder / "models" / "wildlife.py").write_text(WILDLIFE)
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
    config = server_config(create_app(settings), settings)
    config.host, config.port = "127.0.0.1", 0
    with running(uvicorn.Server(config)) as url:
        yield url


@contextmanager
def listening(app: object) -> Iterator[str]:
    """The base URL of an ASGI app in a thread."""
    config = uvicorn.Config(
        app,
        port=0,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    with running(uvicorn.Server(config)) as url:
        yield url


@contextmanager
def running(server: uvicorn.Server) -> Iterator[str]:
    """The base URL of a server in a thread."""
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
def server_at() -> Callable[[Settings], AbstractContextManager[str]]:
    """``with server_at(settings) as url``, for fixtures that keep a server of their own for many tests."""
    return serving


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
            url = stack.enter_context(serving(settings_with(**{"models_dir": models_dir, **changes})))
            return stack.enter_context(httpx2.Client(base_url=url, timeout=20, trust_env=False))

        yield start


@pytest.fixture
def listening_to() -> Iterator[Callable[[object], str]]:
    """``listening_to(app)`` serves any ASGI app and gives its base URL."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda app: stack.enter_context(listening(app))


@pytest.fixture
def running_with() -> Iterator[Callable[[uvicorn.Config], str]]:
    """``running_with(config)`` starts a server and gives its base URL."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda config: stack.enter_context(running(uvicorn.Server(config)))


# -- services of others ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Received:
    """What came in at a stand-in."""

    path: str
    headers: Mapping[str, str]
    body: Any

    @property
    def images(self) -> list[Image.Image]:
        """The images in it, decoded, whichever dialect it is in."""
        return [Image.open(io.BytesIO(data)) for data in self.image_files]

    @property
    def image_files(self) -> list[bytes]:
        if "contents" in self.body:
            parts = self.body["contents"][0]["parts"]
            return [
                base64.urlsafe_b64decode(part["inlineData"]["data"]) for part in parts if "inlineData" in part
            ]
        content = self.body["messages"][0]["content"]
        urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        assert all(url.startswith("data:image/jpeg;base64,") for url in urls)
        return [base64.b64decode(url.partition(",")[2]) for url in urls]

    @property
    def text(self) -> str:
        if "contents" in self.body:
            return "".join(part.get("text", "") for part in self.body["contents"][0]["parts"])
        return "".join(part.get("text", "") for part in self.body["messages"][0]["content"])


class Service:
    """A stand-in for somebody's service: gives the answers it was told, in order, and keeps what it got."""

    def __init__(self, written: Callable[[str], Any]) -> None:
        self.received: list[Received] = []
        self.url = ""
        self._written = written
        self._answers: deque[Response | Callable[[Received], Response] | None] = deque()

    def forgetful(self) -> Service:
        """Itself, without what it got and was told before."""
        self.received.clear()
        self._answers.clear()
        return self

    def says(self, *texts: str) -> None:
        """Answer so, in the service's own words."""
        for text in texts:
            self.answers(self._written(text))

    def says_of(self, answer: Callable[[Received], str]) -> None:
        """Answer what ``answer`` makes of each question, from now on."""
        self._answers.append(lambda received: JSONResponse(self._written(answer(received))))

    def answers(self, body: Any, status: int = 200, **headers: str) -> None:
        """Answer with this JSON, or these bytes as they are."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, bytes):
            self._answers.append(Response(body, status, headers, media_type="application/json"))
        else:
            self._answers.append(JSONResponse(body, status, headers))

    def hangs(self) -> None:
        """Take the question and never answer."""
        self._answers.append(None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        received = Received(request.url.path, dict(request.headers), await request.json())
        self.received.append(received)
        answer = self._answers[0]
        if not callable(answer) or isinstance(answer, Response):
            self._answers.popleft()
        if answer is None:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await (answer if isinstance(answer, Response) else answer(received))(scope, receive, send)


def gemini_words(text: str, **candidate: Any) -> Any:
    """What Gemini's REST API writes around an answer."""
    content = {"role": "model", "parts": [{"text": text}]}
    return {
        "candidates": [{"content": content, "finishReason": "STOP", "index": 0, **candidate}],
        "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": 5, "totalTokenCount": 16},
        "modelVersion": "gemini-of-the-test",
        "responseId": "r",
    }


def chat_words(text: str | None, finish_reason: str = "stop", **message: Any) -> Any:
    """What an OpenAI-compatible server writes around an answer."""
    message = {"role": "assistant", "content": text, **message}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_800_000_000,
        "model": "llava-of-the-test",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 21, "completion_tokens": 7, "total_tokens": 28},
    }


@pytest.fixture(scope="session")
def _listening_gemini() -> Iterator[Service]:
    service = Service(gemini_words)
    with listening(service) as service.url:
        yield service


@pytest.fixture(scope="session")
def _listening_chat() -> Iterator[Service]:
    service = Service(chat_words)
    with listening(service) as service.url:
        yield service


@pytest.fixture
def gemini_service(_listening_gemini: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A stand-in for Gemini's REST API on loopback."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")  # SDKs go by the developer's proxies
    return _listening_gemini.forgetful()


@pytest.fixture
def chat_service(_listening_chat: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A stand-in for an OpenAI-compatible server on loopback."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return _listening_chat.forgetful()


@pytest.fixture(scope="session")
def _asking_url(models_dir: Path, _listening_gemini: Service) -> Iterator[str]:
    settings = settings_with(
        models_dir,
        gemini_api_key=SecretStr("sk-secret-0123456789abcdef"),
        gemini_base_url=_listening_gemini.url,
        rate_limit_requests=0,
    )
    with serving(settings) as url:
        yield url


@pytest.fixture
def asking(_asking_url: str, gemini_service: Service) -> Iterator[httpx2.Client]:
    """A server that asks ``gemini_service`` and gets its answers."""
    with httpx2.Client(base_url=_asking_url, timeout=20, trust_env=False) as client:
        yield client
