"""Nothing is sent that nobody asked for: libraries that report usage when they are loaded stay silent.

Each command runs as its users run it: without the variables that continuous integration sets and that
silence these libraries. A hook in the interpreter notes what Python code does; the proxy that the environment
names sees what native code sends, and the home folder what it keeps.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest

from sightline.imaging import encode_png

CI_VARIABLES = ("CI", "TF_BUILD", "JENKINS_URL", "GITHUB_ACTIONS", "ORT_RUNNING_UNIT_TESTS")
SWITCHES = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

HOOK = """
import os, sys

def _note(event, arguments):
    if event in ("os.fork", "os.forkpty", "os.posix_spawn"):
        _write(event)
    elif event == "subprocess.Popen":
        # Python's platform.processor(), and the processes that decode images, whose network is filtered.
        if arguments[1] != ["uname", "-p"] and "decode_worker" not in str(arguments[1]):
            _write(f"{event} {arguments[1]}")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        if arguments[0] not in (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0"):
            _write(f"{event} {arguments[0]}")
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        if arguments[1][0] not in ("127.0.0.1", "::1"):
            _write(f"{event} {arguments[1]}")

def _write(line):
    descriptor = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (line + "\\n").encode())
    os.close(descriptor)

sys.addaudithook(_note)
"""

# What a plug-in may well do: import both runtimes at its top and compute with them.
PLUGIN = """
import openvino
import onnxruntime
import tokenizers
import numpy as np
from onnx import TensorProto, helper
from sightline.models import ModelCard, ModelDefinition
from sightline.capabilities.embedding import IMAGE_EMBEDDING

def graph():
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"])
    made = helper.make_graph([helper.make_node("Mul", ["x", "x"], ["y"])], "g", [value("x")], [value("y")])
    opset = helper.make_opsetid("", 17)
    return helper.make_model(made, opset_imports=[opset], ir_version=8).SerializeToString()

class Squares:
    def __init__(self):
        self.session = onnxruntime.InferenceSession(graph(), providers=["CPUExecutionProvider"])
        self.compiled = openvino.Core().compile_model(openvino.Core().read_model(graph()), "CPU")

    def prepare(self, view):
        return view.pixels().mean(dtype=np.float32).reshape(1) / 255

    def infer(self, items):
        return [self.session.run(None, {"x": item})[0] + self.compiled([item])[0] for item in items]

CARD = ModelCard(
    name="a-squares", capabilities=frozenset({IMAGE_EMBEDDING}), description="d",
    licence="CC0-1.0", homepage="https://example.org", preprocessing="p", parameters=0, multiply_adds=0,
    space="clip-vit-b-32",
)
MODELS = (ModelDefinition(CARD, lambda files, graphs: Squares()),)
"""


class Watch:
    """A home folder, a note of what Python code does and a proxy, all of them empty at first."""

    def __init__(self, folder: Path, models_dir: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self._log = folder / "audit.log"
        hook = folder / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(HOOK)
        self._proxy = socket.create_server(("127.0.0.1", 0))
        self._proxied: list[bytes] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        address = f"http://127.0.0.1:{self._proxy.getsockname()[1]}"
        silenced = (*CI_VARIABLES, *SWITCHES, "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in silenced},
            **dict.fromkeys(PROXIES, address),
            "HOME": str(self.home),
            "PYTHONPATH": str(hook),
            "AUDIT_LOG": str(self._log),
            "SIGHTLINE_MODELS_DIR": str(models_dir),
            "SIGHTLINE_ALLOW_RANDOM_WEIGHTS": "1",
        }

    def _accept(self) -> None:
        while True:
            connection, _ = self._proxy.accept()
            with connection:
                connection.settimeout(5)
                heard = connection.recv(200)
            if heard == b"stop":
                return
            self._proxied.append(heard)

    def close(self) -> None:
        with socket.create_connection(self._proxy.getsockname()) as last:
            last.sendall(b"stop")
        self._thread.join()
        self._proxy.close()

    def seen(self) -> list[str]:
        """Whatever left the process or stayed in the home folder."""
        noted = self._log.read_text().splitlines() if self._log.exists() else []
        kept = [str(path.relative_to(self.home)) for path in self.home.rglob("*") if path.is_file()]
        return [*noted, *map(repr, self._proxied), *kept]


@pytest.fixture
def watch(tmp_path: Path, models_dir: Path) -> Iterator[Watch]:
    watch = Watch(tmp_path, models_dir)
    yield watch
    watch.close()


@pytest.fixture
def run(watch: Watch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The real entry point in a process of its own."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from sightline.cli import main; main()", *arguments],
            env=watch.environment | variables, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip

    return run


@pytest.fixture
def grey(tmp_path: Path) -> str:
    path = tmp_path / "grey.png"
    path.write_bytes(encode_png(np.full((30, 40, 3), 128, np.uint8)))
    return str(path)


@pytest.fixture
def plugins(tmp_path: Path) -> str:
    (tmp_path / "plugins" / "models").mkdir(parents=True)
    (tmp_path / "plugins" / "models" / "a_squares.py").write_text(PLUGIN)
    return str(tmp_path / "plugins")


def test_the_hook_and_the_proxy_see_what_they_should(watch: Watch) -> None:
    """Without Sightline in the process OpenVINO looks up a host, asks a proxy or keeps an id."""
    code = (
        "import openvino.tools.ovc as ovc\n"
        "import openvino_telemetry\n"
        "openvino_telemetry.Telemetry().sender.executor.shutdown(wait=True)"
    )
    subprocess.run([sys.executable, "-c", code], env=watch.environment, check=True, capture_output=True)
    assert "os.fork" in watch.seen()
    assert any("openvino" in each for each in watch.seen())


def test_doctor_is_silent(run: Callable[..., subprocess.CompletedProcess[str]], watch: Watch) -> None:
    done = run("doctor", SIGHTLINE_OFFLINE="1")
    assert "OpenVINO" in done.stdout
    assert watch.seen() == []


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_analyze_is_silent(
    run: Callable[..., subprocess.CompletedProcess[str]], watch: Watch, grey: str, runtime: str
) -> None:
    done = run(
        "analyze", grey, "--task", "detect_faces", "--task", "embed_clip", SIGHTLINE_GRAPH_RUNTIME=runtime
    )
    assert done.returncode == 0, done.stderr
    assert watch.seen() == []


def test_a_plugin_that_imports_the_runtimes_is_silent(
    run: Callable[..., subprocess.CompletedProcess[str]], watch: Watch, grey: str, plugins: str
) -> None:
    done = run("analyze", grey, "--task", "embed_clip", "--json", SIGHTLINE_PLUGINS_DIR=plugins)
    assert done.returncode == 0, done.stderr
    assert '"a-squares"' in done.stdout
    assert watch.seen() == []


def test_serve_is_silent(watch: Watch, grey: str, plugins: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    variables = {"SIGHTLINE_PLUGINS_DIR": plugins, "SIGHTLINE_PRELOAD": "mtcnn,a-squares"}
    server = subprocess.Popen(
        [sys.executable, "-c", "from sightline.cli import main; main()", "serve", "--port", str(port)],
        env=watch.environment | variables | {"SIGHTLINE_LAME_DUCK_S": "0"},
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            _wait_until_ready(client, server)
            with Path(grey).open("rb") as file:
                answer = client.post("/v1/operations/embed_clip", files={"image": file})
            assert answer.status_code == 200, answer.text
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
    assert watch.seen() == []


def _wait_until_ready(client: httpx2.Client, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert server.poll() is None
        assert time.monotonic() < deadline
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.05)


OPTIONAL = """
import sightline, google.genai, openai, pyarrow.parquet, sklearn.linear_model
google.genai.Client(api_key="none", http_options={"base_url": "http://127.0.0.1:9"})
openai.AsyncOpenAI(api_key="none", base_url="http://127.0.0.1:9")
from sightline.jobs.collections.plotting import precision_recall_png
"""


def test_optional_libraries_are_silent(watch: Watch) -> None:
    subprocess.run([sys.executable, "-c", OPTIONAL], env=watch.environment, check=True)
    assert watch.seen() == []


@pytest.mark.parametrize("chosen", ["0", "1"])
def test_what_the_user_chose_is_kept(watch: Watch, chosen: str) -> None:
    code = "import sightline, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=watch.environment | {"ORT_DISABLE_TELEMETRY": chosen}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == chosen
