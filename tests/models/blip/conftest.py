"""A captioner with a few random weights and the signatures of the real one, and what it must write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sightline.models.blip.beam_search import log_softmax
from sightline.models.blip.captioner import BEGIN_TOKEN, END_TOKEN, VOCABULARY_SIZE
from sightline.models.blip.vocabulary import stand_in

WIDTH = 8

Line = list[int]
NextLogits = Callable[[Line], np.ndarray]


def by_the_book(next_logits: NextLogits, num_beams: int, max_length: int, begin: int, end: int) -> Line:
    """Beam search as papers write it: nothing is kept of a line but its tokens, and nothing is batched."""
    running, ended = [(np.float32(0), [begin])], []
    while len(ended) < num_beams:
        candidates = []
        for score, line in running:
            totals = log_softmax(next_logits(line)[None])[0] + score
            # No more than these can be among the best of all; a stable sort keeps the smaller of equal ids.
            best = np.argsort(-totals, kind="stable")[: 2 * num_beams]
            candidates += [(totals[token], [*line, int(token)]) for token in best]
        candidates.sort(key=lambda candidate: -candidate[0])
        running = []
        for rank, (score, line) in enumerate(candidates[: 2 * num_beams]):
            if line[-1] != end and len(line) < max_length:
                running.append((score, line))
            elif rank < num_beams:
                ended.append((score / np.float32(len(line) - 1), line))
        running = running[:num_beams]
    return max(ended, key=lambda hypothesis: hypothesis[0])[1]


class SmallBlip:
    """A decoder whose state sums up all earlier tokens of the line: a wrong past is a wrong caption."""

    def __init__(self, end_bonus: float = 0.0) -> None:
        generator = np.random.default_rng(11)
        self.words = generator.normal(0, 2, (VOCABULARY_SIZE, WIDTH)).astype(np.float32)
        self.out = generator.normal(0, 3, (WIDTH, VOCABULARY_SIZE)).astype(np.float32)
        self.bias = np.zeros(VOCABULARY_SIZE, np.float32)
        self.bias[END_TOKEN] = end_bonus

    def picture(self, pixels: np.ndarray) -> np.ndarray:
        """[WIDTH] of one picture: the mean colour, repeated."""
        return np.resize(pixels.astype(np.float32).mean((0, 1)) / 128, WIDTH)

    def next_logits(self, pixels: np.ndarray) -> NextLogits:
        """The decoder without a memory: what comes after a whole line."""
        seen = self.picture(pixels)

        def logits(line: Line) -> np.ndarray:
            total = np.zeros(WIDTH, np.float32)
            for place, token in enumerate(line):
                state = np.sin(self.words[token] + seen + np.float32(0.3) * total + np.float32(0.1 * place))
                total = total + state
            return state @ self.out + self.bias

        return logits

    def save(self, folder: Path) -> dict[str, Path]:
        """The artifacts of a BLIP card."""
        files = {name: folder / name for name in ("vision.onnx", "decoder.onnx", "tokenizer.json")}
        _save_vision(files["vision.onnx"])
        self._save_decoder(files["decoder.onnx"])
        stand_in().save(str(files["tokenizer.json"]))
        return files

    def _save_decoder(self, path: Path) -> None:
        node = helper.make_node
        nodes = [
            node("Gather", ["words", "ids"], ["word"]),
            node("Cast", ["position"], ["place"], to=TensorProto.FLOAT),
            node("Mul", ["place", "tenth"], ["places"]),
            node("Gather", ["past", "one"], ["values"]),  # [N, 1, slots, WIDTH]
            node("Exp", ["hidden"], ["visible"]),
            node("Unsqueeze", ["visible", "axis1"], ["visible1"]),
            node("MatMul", ["visible1", "values"], ["summed1"]),
            node("Squeeze", ["summed1", "axis1"], ["summed"]),
            node("Mul", ["summed", "share"], ["context"]),
            node("Gather", ["picture", "one"], ["seen1"]),
            node("Squeeze", ["seen1", "axis1"], ["seen"]),
            node("Add", ["word", "context"], ["a"]),
            node("Add", ["a", "seen"], ["b"]),
            node("Add", ["b", "places"], ["c"]),
            node("Sin", ["c"], ["state"]),
            node("MatMul", ["state", "out"], ["product"]),
            node("Add", ["product", "bias"], ["logits"]),
            node("Unsqueeze", ["state", "axes02"], ["state1"]),
            node("Concat", ["state1", "state1"], ["states"], axis=0),
        ]
        constants = {
            "words": self.words,
            "out": self.out,
            "bias": self.bias,
            "tenth": np.array(0.1, np.float32),
            "share": np.array(0.3, np.float32),
            "one": np.array(1),
            "axis1": np.array([1]),
            "axes02": np.array([0, 2]),
        }
        inputs = {
            "ids": (TensorProto.INT64, ["N", "B"]),
            "position": (TensorProto.INT64, [1]),
            "hidden": (TensorProto.FLOAT, ["N", "B", "S"]),
            "past": (TensorProto.FLOAT, [2, "N", 1, "S", WIDTH]),
            "picture": (TensorProto.FLOAT, [2, "N", 1, 1, WIDTH]),
        }
        outputs = {"logits": ["N", "B", VOCABULARY_SIZE], "states": [2, "N", 1, "B", WIDTH]}
        _save(path, nodes, inputs, outputs, constants)


def _save_vision(path: Path) -> None:
    node = helper.make_node
    nodes = [
        node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        node("ReduceMean", ["floats"], ["means"], axes=[1, 2], keepdims=0),
        node("Mul", ["means", "scale"], ["scaled"]),
        node("Gather", ["scaled", "channels"], ["wide"], axis=1),
        node("Unsqueeze", ["wide", "axes"], ["one"]),
        node("Concat", ["one", "one"], ["picture"], axis=0),
    ]
    constants = {
        "scale": np.array(1 / 128, np.float32),
        "channels": np.arange(WIDTH) % 3,
        "axes": np.array([0, 2, 3]),
    }
    inputs = {"pixels": (TensorProto.UINT8, ["N", 384, 384, 3])}
    _save(path, nodes, inputs, {"picture": [2, "N", 1, 1, WIDTH]}, constants)


def _save(path: Path, nodes: list, inputs: dict, outputs: dict, constants: dict[str, np.ndarray]) -> None:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


@pytest.fixture(scope="session")
def small_blip() -> SmallBlip:
    """Ends most captions within twenty tokens."""
    return SmallBlip(end_bonus=14.0)


@pytest.fixture(scope="session")
def talkative_blip() -> SmallBlip:
    """Never ends a caption by itself."""
    return SmallBlip(end_bonus=-100.0)


@pytest.fixture(scope="session")
def small_files(small_blip: SmallBlip, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return small_blip.save(tmp_path_factory.mktemp("blip"))


@pytest.fixture(scope="session")
def write_by_the_book() -> Callable[..., Line]:
    """``write(small, pixels, num_beams, max_length)``: what a small captioner must write."""

    def write(small: SmallBlip, pixels: np.ndarray, num_beams: int, max_length: int) -> Line:
        return by_the_book(small.next_logits(pixels), num_beams, max_length, BEGIN_TOKEN, END_TOKEN)

    return write


@pytest.fixture(scope="session")
def search_by_the_book() -> Callable[..., Line]:
    return by_the_book
