"""SpeciesNet's classifier: a file like the published one becomes a graph, and nothing in it is ever run."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from skimage import data

from sightline.errors import CheckpointInvalid
from sightline.models.speciesnet import CHECKPOINT, CLASSIFIER, LABELS, MODELS, load
from sightline.models.speciesnet.made_up_taxonomy import write_labels
from sightline.networks.efficientnet import EfficientNetV2
from sightline.networks.speciesnet import OPERATORS, translated
from sightline.runtime.graphs import Graphs
from sightline.settings import GraphRuntime, Precision, Settings
from sightline.weights.sources import Built, Recipe

RANDOM = np.random.default_rng(0)
LAYERS = {
    "conv": "torch.nn.modules.conv.Conv2d",
    "sigmoid": "torch.nn.modules.activation.Sigmoid",
    "sequential": "torch.nn.modules.container.Sequential",
    "reshape": "onnx2torch.node_converters.reshape.OnnxReshape",
    "squeeze": "onnx2torch.node_converters.squeeze.OnnxSqueezeDynamicAxes",
    "mean": "onnx2torch.node_converters.global_average_pool.OnnxGlobalAveragePoolWithKnownInputShape",
    "pad": "onnx2torch.node_converters.pad.OnnxPadStatic",
    "transpose": "onnx2torch.node_converters.transpose.OnnxTranspose",
    "matmul": "onnx2torch.node_converters.matmul.OnnxMatMul",
    "arithmetic": "onnx2torch.node_converters.binary_math_operations.OnnxBinaryMathOperation",
}
CODE = """


def forward(self, input_1):
    planes = getattr(self, "net/planes")(input_1);  input_1 = None
    stem = getattr(self, "net/stem/Conv2D")(planes);  planes = None
    gate = self.gate(stem)
    maps = self.times(stem, gate);  stem = gate = None
    axes = self.initializers.onnx_initializer_0
    pooled = self.mean(maps);  maps = None
    flat = self.squeeze(pooled, axes);  pooled = axes = None
    shape = self.initializers.onnx_initializer_1
    shaped = self.reshape(flat, shape);  flat = shape = None
    weight = self.initializers.onnx_initializer_2
    product = self.matmul(shaped, weight);  shaped = weight = None
    bias = self.initializers.onnx_initializer_3
    answer = self.plus(product, bias);  product = bias = None
    return answer
    """
NODES = {
    "Conv": 1, "Sigmoid": 1, "Mul": 1, "Add": 1, "Reshape": 1, "GlobalAveragePool": 1, "Squeeze": 1,
    "Pad": 1, "Transpose": 1, "MatMul": 1,
}  # fmt: skip
KERNEL, BIAS = RANDOM.normal(0, 1, (8, 3, 3, 3)), RANDOM.normal(0, 1, 8)
LAST, LAST_BIAS = RANDOM.normal(0, 1, (8, 5)), RANDOM.normal(0, 1, 5)


@pytest.fixture
def written(torch_file, tmp_path: Path) -> Callable[..., Path]:
    """Writes a small GraphModule as torch pickles one; ``code`` and layers can be others."""

    def layer(kind: str, **state: Any) -> Any:
        return torch_file.module(LAYERS.get(kind, kind), state)

    def convolution(**other: Any) -> Any:
        parameters = {"weight": KERNEL.astype(np.float32), "bias": BIAS.astype(np.float32)}
        settings = {
            "padding_mode": "zeros",
            "padding": (0, 0),
            "stride": (4, 4),
            "dilation": (1, 1),
            "groups": 1,
        }
        return layer("conv", **{"_parameters": parameters, **settings, **other})

    def write(code: str = CODE, convolutions: Mapping[str, Any] | None = None, **others: Any) -> Path:
        function = {
            "times": torch_file.Called(
                torch_file.Named("__builtin__.getattr"), (torch_file.Named("torch._VF"), "mul")
            ),
            "plus": torch_file.Named("torch.add"),
        }
        pad = layer("pad", pads=[0, 1, 0, 1], mode="constant", constant_value=0.0)
        arrays = {
            "onnx_initializer_0": np.array([2, 3]),
            "onnx_initializer_1": np.array([0, 8]),
            "onnx_initializer_2": LAST.astype(np.float32),
            "onnx_initializer_3": LAST_BIAS.astype(np.float32),
        }
        layers = {
            "net/planes": layer("transpose", perm=[0, 3, 1, 2]),
            "net/stem/Conv2D": layer(
                "sequential", _modules={"0": pad, "1": convolution(**(convolutions or {}))}
            ),
            "gate": layer("sigmoid"),
            "times": layer("arithmetic", broadcast=None, axis=None, math_op_function=function["times"]),
            "plus": layer("arithmetic", broadcast=None, axis=None, math_op_function=function["plus"]),
            "mean": layer("mean", _x_dims=[2, 3]),
            "squeeze": layer("squeeze"),
            "reshape": layer("reshape"),
            "matmul": layer("matmul"),
            "initializers": layer("torch.nn.modules.module.Module", _buffers=arrays),
            **{name: layer(kind) for name, kind in others.items()},
        }
        body = {"_code": code, "_modules": layers, "_parameters": {}, "_buffers": {}, "training": False}
        name = torch_file.Named("torch.fx.graph_module.reduce_graph_module")
        return torch_file.save(torch_file.Called(name, (body, "import os\n")), tmp_path / "module.pt")

    return write


def test_a_plain_module_becomes_the_graph_it_was_made_from(written, tmp_path: Path) -> None:
    path = tmp_path / CLASSIFIER
    translated(written(), NODES, (8, 5)).save(path, {})
    onnx.checker.check_model(onnx.load(path), full_check=True)
    pixels = RANDOM.integers(0, 256, (2, 480, 480, 3), np.uint8)
    levels = pixels.astype(np.float64) / 255
    padded = np.pad(levels.transpose(0, 3, 1, 2), ((0, 0), (0, 0), (0, 1), (0, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))[:, :, ::4, ::4]
    stem = np.einsum("nchwij,ocij->nohw", windows, KERNEL) + BIAS[:, None, None]
    wanted = (stem / (1 + np.exp(-stem))).mean(axis=(2, 3)) @ LAST + LAST_BIAS
    for runtime in (GraphRuntime.OPENVINO, GraphRuntime.ONNXRUNTIME):
        graph = Graphs(Settings(graph_runtime=runtime, precision=Precision.F32))(path)
        (answer,) = graph.run({"pixels": pixels})
        np.testing.assert_allclose(answer, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("nodes", [{"Conv": 2}, {"Mul": 0}, {"Relu": 1}], ids=str)
def test_another_number_of_layers_is_refused(nodes: dict[str, int], written) -> None:
    with pytest.raises(CheckpointInvalid, match=f"nodes {next(iter(nodes))}; expected"):
        translated(written(), {**NODES, **nodes}, (8, 5))


def test_another_last_layer_is_refused(written) -> None:
    with pytest.raises(CheckpointInvalid, match=r"\[\[8, 5\]\]; expected \[8, 6\]"):
        translated(written(), NODES, (8, 6))


@pytest.mark.parametrize(
    "settings",
    [
        {"padding_mode": "circular"},
        {"padding": "same"},
        {"stride": (1.5, 2)},
        {"groups": "1"},
        {"stride": (2,)},
        {"_parameters": {}},
    ],
    ids=str,
)
def test_odd_settings_are_refused(settings: dict[str, Any], written) -> None:
    with pytest.raises(CheckpointInvalid, match=r"layer net/stem/Conv2D"):
        translated(written(convolutions=settings), NODES, (8, 5))


@pytest.mark.parametrize("kind", ["torch.nn.modules.activation.Tanh", "os.Sigmoid", "builtins.eval"])
def test_unknown_layers_are_refused(kind: str, written) -> None:
    with pytest.raises(CheckpointInvalid, match=f"layer gate: unknown kind {kind}"):
        translated(written(gate=kind), NODES, (8, 5))


HARM = "__import__('os').system('touch {mark}')"
HOSTILE = {
    "a call of something else": f"def forward(self, x):\n    y = {HARM}\n    return y\n",
    "a statement before": f"{HARM}\n{CODE.strip()}",
    "an import": f"import os\n{CODE.strip()}",
    "a second function": f"{CODE.strip()}\n\ndef more(self):\n    return 1\n",
    "a default": f"def forward(self, x={HARM}):\n    return x\n",
    "a default of a keyword": f"def forward(self, x, *, y={HARM}):\n    return x\n",
    "an annotation": f"def forward(self, x: {HARM}):\n    return x\n",
    "an annotated answer": f"def forward(self, x) -> {HARM}:\n    return x\n",
    "a decorator": f"@{HARM}\ndef forward(self, x):\n    return x\n",
    "a bare call": f"def forward(self, x):\n    {HARM}\n    return x\n",
    "an answer that is computed": f"def forward(self, x):\n    return {HARM}\n",
    "no answer": "def forward(self, x):\n    y = self.gate(x)\n",
    "keywords": "def forward(self, x):\n    y = self.gate(input=x)\n    return y\n",
    "arguments that are computed": f"def forward(self, x):\n    y = self.gate({HARM})\n    return y\n",
    "a starred argument": "def forward(self, x):\n    y = self.gate(*x)\n    return y\n",
    "a name that is computed": f"def forward(self, x):\n    y = getattr(self, {HARM})(x)\n    return y\n",
    "a default of a name": f"def forward(self, x):\n    y = getattr(self, 'gate', {HARM})(x)\n    return y\n",
    "no such layer": "def forward(self, x):\n    y = self.nope(x)\n    return y\n",
    "an unknown value": "def forward(self, x):\n    y = self.gate(z)\n    return y\n",
    "an unknown answer": "def forward(self, x):\n    y = self.gate(x)\n    return z\n",
    "the module itself": "def forward(self, x):\n    y = self(x)\n    return y\n",
    "a loop": "def forward(self, x):\n    while True:\n        y = self.gate(x)\n    return y\n",
    "two inputs": "def forward(self, x, y):\n    return x\n",
    "a class": "class A:\n    pass\n",
    "no Python": "def forward(self, x\n",
    "too deep": f"def forward(self, x):\n    y = {'(' * 3000}x{')' * 3000}\n    return y\n",
    "async": "async def forward(self, x):\n    return x\n",
    "a lambda": f"def forward(self, x):\n    y = (lambda z: {HARM})(x)\n    return y\n",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_code_is_refused_and_not_run(kind: str, written, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(CheckpointInvalid):
        translated(written(code=HOSTILE[kind].replace("{mark}", str(mark))), NODES, (8, 5))
    assert not mark.exists()


class Harm:
    """Python's own unpickler would run this."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def test_hostile_pickles_are_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(Harm(mark)))
    assert mark.exists(), "the trap does not work, so the test would prove nothing"
    mark.unlink()
    path = tmp_path / "harm.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps(Harm(mark), 2))
        archive.writestr("a/byteorder", "little")
    with pytest.raises(CheckpointInvalid, match="another content"):
        translated(path, NODES, (8, 5))
    assert not mark.exists()


def test_the_card_refuses_another_network(written, tmp_path: Path) -> None:
    card = MODELS[0].card
    (source,) = next(each for each in card.artifacts if each.name == CLASSIFIER).sources
    assert isinstance(source, Built)
    with pytest.raises(CheckpointInvalid, match=r"expected \[1280, 2498\]"):
        source.build({CHECKPOINT: written()}, tmp_path / CLASSIFIER, lambda *_: None)
    assert not (tmp_path / CLASSIFIER).exists()


# -- made-up weights ---------------------------------------------------------------------------------------


def test_the_made_up_network_has_the_published_nodes() -> None:
    network = EfficientNetV2(2498)
    graph = network.graphs[CLASSIFIER](network.draw(0))
    found: dict[str, int] = {}
    for node in graph._nodes[2:]:
        found[node.op_type] = found.get(node.op_type, 0) + 1
    # Uneven margins are layers of their own in the published one.
    assert {**found, "Pad": 5} == dict(OPERATORS)
    assert len(network.tensors) == 492


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_made_up_weights_tell_photos_apart(seed: int, tmp_path: Path, view_of) -> None:
    made = {each.name: each for each in MODELS[2].card.artifacts if each.made_up is not None}
    assert set(made) == {CLASSIFIER, LABELS}
    for name, artifact in made.items():
        artifact.made_up(tmp_path / name, Recipe(seed, "tiny"))
    files = {name: tmp_path / name for name in made}
    answers = []
    for runtime in (GraphRuntime.OPENVINO, GraphRuntime.ONNXRUNTIME):
        model = load(files, Graphs(Settings(graph_runtime=runtime, precision=Precision.F32)))
        items = [
            model.prepare(view_of(pixels)) for pixels in (data.astronaut(), data.coffee(), data.chelsea())
        ]
        answers.append(model.infer(items))
    assert len({answer.labels for answer in answers[0]}) == 3
    for one, other in zip(*answers, strict=True):
        assert one.scores == pytest.approx(other.scores, rel=1e-2)
    write_labels(tmp_path / "again.txt", Recipe(9))
    assert (tmp_path / "again.txt").read_bytes() == files[LABELS].read_bytes()
