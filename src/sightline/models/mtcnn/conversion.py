"""The released weights to ONNX, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.errors import ExportFailed
from sightline.models.mtcnn.geometry import (
    CANVAS,
    CANVAS_CHANNELS,
    GRID,
    OUTPUT_BATCH,
    OUTPUT_SIZE,
    REFINE_BATCH,
    REFINE_SIZE,
)
from sightline.weights.sources import Report
from sightline.weights.torch_files import Weights, read_weights

# Added to a convolution's answer under each pixel past the edge: far below anything the network computes.
_PAST_EDGE = -1e6


class _Chain:
    """An ONNX graph under construction: each layer feeds the next."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._input_shape = shape
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._last = "pixels"

    def _add(self, operator: str, *constants: NDArray[np.float32], **attributes: Any) -> None:
        from onnx import helper, numpy_helper

        names = []
        for array in constants:
            names.append(f"constant_{len(self._constants)}")
            self._constants.append(
                numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32), names[-1])
            )
        output = f"layer_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, [self._last, *names], [output], **attributes))
        self._last = output

    def convolve(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        self._add("Conv", weight, bias)

    def activate(self, slopes: NDArray[np.float32]) -> None:
        self._add("PRelu", slopes[:, None, None])

    def pool(self, size: int) -> None:
        self._add("MaxPool", kernel_shape=[size, size], strides=[2, 2], ceil_mode=1)

    def flatten(self) -> None:
        self._add("Flatten")

    def save(self, path: Path, name: str, output_shape: tuple[int, ...]) -> None:
        """Write the model: input ``pixels``, output ``answers``, both f32 of a fixed shape."""
        import onnx
        from onnx import TensorProto, helper

        self._nodes[-1].output[0] = "answers"
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, self._input_shape)],
            [helper.make_tensor_value_info("answers", TensorProto.FLOAT, output_shape)],
            self._constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="sightline"
        )
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))


def _convert(network: str, weights_path: Path, output: Path, report: Report) -> None:
    report(f"convert {network}", 0, 1)
    weights = read_weights(weights_path)
    try:
        {"pnet": _save_pnet, "rnet": _save_rnet, "onet": _save_onet}[network](weights, output)
    except (KeyError, ValueError) as error:
        raise ExportFailed(f"{weights_path.name} does not hold the weights of {network}: {error}") from error
    report(f"convert {network}", 1, 1)


def convert_pnet(inputs: Mapping[str, Path], output: Path, report: Report) -> None:
    """Build ``pnet.onnx`` from ``pnet.pt``: ``[1, 4, CANVAS, CANVAS]`` to ``[1, 5, GRID, GRID]``.

    The fourth channel is 1 for pixels past the edge of a picture. Answers are the logit of a face, then the
    four offsets of its box.

    Raises:
        ExportFailed: the file does not hold these weights, or asks for code to be run.
    """
    _convert("pnet", inputs["pnet.pt"], output, report)


def convert_rnet(inputs: Mapping[str, Path], output: Path, report: Report) -> None:
    """Build ``rnet.onnx`` from ``rnet.pt``: ``[32, 3, 24, 24]`` to logit and offsets, ``[32, 5]``.

    Raises:
        ExportFailed: as ``convert_pnet``.
    """
    _convert("rnet", inputs["rnet.pt"], output, report)


def convert_onet(inputs: Mapping[str, Path], output: Path, report: Report) -> None:
    """Build ``onet.onnx`` from ``onet.pt``: ``[8, 3, 48, 48]`` to ``[8, 15]``, five x and five y at the end.

    Raises:
        ExportFailed: as ``convert_pnet``.
    """
    _convert("onet", inputs["onet.pt"], output, report)


def _save_pnet(weights: Weights, output: Path) -> None:
    """The pool is moved before the activation, and pixels past the edge lose in it.

    A slope below zero makes an activation V-shaped, ``max(x, slope·x)``, so both arms of it go through the
    pool: ``max(u, v) = prelu(u - v; 0) + prelu(v; 1)``. The other activations grow with x, and their maximum
    is that of the maximum. Sixteen channels leave the first layer, a multiple of what processors like.
    """
    slopes, weight, bias = weights["prelu1.weight"], weights["conv1.weight"], weights["conv1.bias"]
    rising, bent = np.flatnonzero(slopes >= 0), np.flatnonzero(slopes < 0)
    many, few = len(rising), len(bent)
    arm = slopes[bent]
    arms = np.concatenate([weight[rising], weight[bent], weight[bent] * arm[:, None, None, None]])
    channels = len(arms)
    past_edge = np.full((channels, CANVAS_CHANNELS - 3, 3, 3), _PAST_EDGE, np.float32)
    combine = np.eye(channels, dtype=np.float32)
    combine[np.arange(many, many + few), np.arange(many + few, channels)] = -1
    second = weights["conv2.weight"]

    chain = _Chain((1, CANVAS_CHANNELS, CANVAS, CANVAS))
    chain.convolve(
        np.concatenate([arms, past_edge], axis=1),
        np.concatenate([bias[rising], bias[bent], bias[bent] * arm]),
    )
    chain.pool(2)
    chain.convolve(combine[:, :, None, None], np.zeros(channels, np.float32))
    chain.activate(np.concatenate([slopes[rising], np.zeros(few, np.float32), np.ones(few, np.float32)]))
    chain.convolve(
        np.concatenate([second[:, rising], second[:, bent], second[:, bent]], axis=1), weights["conv2.bias"]
    )
    chain.activate(weights["prelu2.weight"])
    chain.convolve(weights["conv3.weight"], weights["conv3.bias"])
    chain.activate(weights["prelu3.weight"])
    _answer(chain, weights, "conv4_1", "conv4_2")
    chain.save(output, "pnet", (1, 5, GRID, GRID))


def _save_rnet(weights: Weights, output: Path) -> None:
    chain = _Chain((REFINE_BATCH, 3, REFINE_SIZE, REFINE_SIZE))
    _features(chain, weights, (3, 3, 0))
    _dense(chain, weights, 4)
    _answer(chain, weights, "dense5_1", "dense5_2")
    chain.flatten()
    chain.save(output, "rnet", (REFINE_BATCH, 5))


def _save_onet(weights: Weights, output: Path) -> None:
    chain = _Chain((OUTPUT_BATCH, 3, OUTPUT_SIZE, OUTPUT_SIZE))
    _features(chain, weights, (3, 3, 2, 0))
    _dense(chain, weights, 5)
    _answer(chain, weights, "dense6_1", "dense6_2", "dense6_3")
    chain.flatten()
    chain.save(output, "onet", (OUTPUT_BATCH, 15))


def _features(chain: _Chain, weights: Weights, pools: tuple[int, ...]) -> None:
    """Convolutions with their activations, each followed by a pool of that size unless it is 0."""
    for number, size in enumerate(pools, start=1):
        chain.convolve(weights[f"conv{number}.weight"], weights[f"conv{number}.bias"])
        chain.activate(weights[f"prelu{number}.weight"])
        if size:
            chain.pool(size)


def _dense(chain: _Chain, weights: Weights, number: int) -> None:
    """A dense layer over a 3×3 map as a convolution. The networks flatten the map as (x, y, channel)."""
    weight = weights[f"dense{number}.weight"]
    units, inputs = weight.shape
    chain.convolve(
        weight.reshape(units, 3, 3, inputs // 9).transpose(0, 3, 2, 1), weights[f"dense{number}.bias"]
    )
    chain.activate(weights[f"prelu{number}.weight"])


def _answer(chain: _Chain, weights: Weights, face: str, *others: str) -> None:
    """All heads in one layer. A softmax over two classes is the logistic function of their difference."""
    heads = [weights[f"{name}.weight"] for name in (face, *others)]
    biases = [weights[f"{name}.bias"] for name in (face, *others)]
    heads[0], biases[0] = heads[0][1:] - heads[0][:1], biases[0][1:] - biases[0][:1]
    weight = np.concatenate(heads)
    chain.convolve(weight.reshape(*weight.shape[:2], 1, 1), np.concatenate(biases))
