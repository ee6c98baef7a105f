"""YOLOv5x6 for three classes: the network of MegaDetector v5.

Written after the published description of the architecture: G. Jocher et al., Ultralytics YOLOv5 v6.0, 2021
(stem of 6 × 6, C3 blocks, fast spatial pyramid pooling, four levels with strides of 8 to 64). Layers are
numbered as there, so that a checkpoint's names fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

CLASSES: Final = 3
STRIDES: Final = (8, 16, 32, 64)
# Widths and heights in pixels, three per level: what the architecture starts training with. A checkpoint
# brings those that it ended with.
ANCHORS: Final = (
    ((19, 27), (44, 40), (38, 94)),
    ((96, 68), (86, 152), (180, 137)),
    ((140, 301), (303, 264), (238, 542)),
    ((436, 615), (739, 380), (925, 792)),
)
# Of one candidate: centre, size, probability of anything, and of each class.
OUTPUTS: Final = 5 + CLASSES


@dataclass(frozen=True, slots=True)
class Widths:
    """Channels of the stem and of the five stages, and how many blocks a short, a long and the longest
    stage has."""

    stem: int
    stages: tuple[int, int, int, int, int]
    blocks: tuple[int, int, int]


# The largest of the family: 1.25 times the channels and 1.33 times the blocks of the reference size.
FULL: Final = Widths(80, (160, 320, 640, 960, 1280), (4, 8, 12))


class Conv(nn.Module):  # type: ignore[misc]
    """Convolution, batch normalisation, SiLU. The side is kept, or halved with a stride of 2."""

    def __init__(
        self, ins: int, outs: int, side: int = 1, stride: int = 1, padding: int | None = None
    ) -> None:
        super().__init__()
        margin = side // 2 if padding is None else padding
        self.conv: nn.Module = nn.Conv2d(ins, outs, side, stride, margin, bias=False)
        # YOLOv5's own epsilon and momentum.
        self.bn: nn.Module = nn.BatchNorm2d(outs, eps=1e-3, momentum=0.03)

    def forward(self, pixels: Tensor) -> Tensor:
        return functional.silu(self.bn(self.conv(pixels)))

    def fuse(self) -> None:
        """The convolution takes over the normalisation."""
        self.conv, self.bn = fuse_conv_bn_eval(self.conv, self.bn), nn.Identity()


class Bottleneck(nn.Module):  # type: ignore[misc]
    def __init__(self, channels: int, *, shortcut: bool) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(channels, channels), Conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, maps: Tensor) -> Tensor:
        found = self.cv2(self.cv1(maps))
        return maps + found if self.shortcut else found


class C3(nn.Module):  # type: ignore[misc]
    """Two narrow ways, one of them through blocks, joined again."""

    def __init__(self, ins: int, outs: int, blocks: int, *, shortcut: bool) -> None:
        super().__init__()
        half = outs // 2
        self.cv1, self.cv2, self.cv3 = Conv(ins, half), Conv(ins, half), Conv(2 * half, outs)
        self.m = nn.Sequential(*(Bottleneck(half, shortcut=shortcut) for _ in range(blocks)))

    def forward(self, maps: Tensor) -> Tensor:
        return self.cv3(torch.cat([self.m(self.cv1(maps)), self.cv2(maps)], 1))


class Pyramid(nn.Module):  # type: ignore[misc]
    """Neighbourhoods of 5, 9 and 13, as one pooling repeated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.cv1, self.cv2 = Conv(channels, half), Conv(4 * half, channels)

    def forward(self, maps: Tensor) -> Tensor:
        levels = [self.cv1(maps)]
        for _ in range(3):
            levels.append(functional.max_pool2d(levels[-1], 5, 1, 2))
        return self.cv2(torch.cat(levels, 1))


class Detect(nn.Module):  # type: ignore[misc]
    """Maps of four levels to candidates ``[N, candidates, 8]`` in pixels, finest level first, by anchor, row
    and column."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        anchors = torch.tensor(ANCHORS, dtype=torch.float32) / torch.tensor(STRIDES)[:, None, None]
        self.register_buffer("anchors", anchors)
        self.m = nn.ModuleList(nn.Conv2d(each, len(ANCHORS[0]) * OUTPUTS, 1) for each in channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return torch.cat([self._candidates(level, each) for level, each in enumerate(maps)], 1)

    def _candidates(self, level: int, maps: Tensor) -> Tensor:
        answer = self.m[level](maps)
        rows, columns = answer.shape[2:]
        # [N, anchors, rows, columns, 8]
        shares = answer.unflatten(1, (len(ANCHORS[0]), OUTPUTS)).permute(0, 1, 3, 4, 2).sigmoid()
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        # A centre may lie up to half a cell outside its own; a side is at most four times the anchor's.
        centres = (shares[..., :2] * 2 - 0.5 + torch.stack([x, y], -1)) * STRIDES[level]
        anchors = self.anchors[level] * STRIDES[level]
        sides = (shares[..., 2:4] * 2) ** 2 * anchors[:, None, None]
        return torch.cat([centres, sides, shares[..., 4:]], -1).flatten(1, 3)


class Double(nn.Module):  # type: ignore[misc]
    """Every pixel becomes four."""

    def forward(self, maps: Tensor) -> Tensor:
        return functional.interpolate(maps, scale_factor=2.0, mode="nearest")


class Joined(nn.Module):  # type: ignore[misc]
    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(maps), 1)


class YoloV5x6(nn.Module):  # type: ignore[misc]
    """f32 ``[N, 3, H, W]`` from 0 to 1, sides multiples of 64 → candidates f32 ``[N, candidates, 8]``."""

    def __init__(self, widths: Widths = FULL) -> None:
        super().__init__()
        self.model = nn.ModuleList(_layers(widths))

    def forward(self, pixels: Tensor) -> Tensor:
        found: list[Tensor] = []
        for number, layer in enumerate(self.model):
            sources = _SOURCES.get(number)
            if sources is None:
                found.append(layer(found[-1] if found else pixels))
            else:
                found.append(layer([found[source] for source in sources]))
        return found[-1]

    def fuse(self) -> None:
        for layer in self.modules():
            if isinstance(layer, Conv):
                layer.fuse()


# Layers that read others than the one before them: joints of the two pyramids, and the last.
_SOURCES: Final = {
    14: (13, 8), 18: (17, 6), 22: (21, 4), 25: (24, 20), 28: (27, 16), 31: (30, 12), 33: (23, 26, 29, 32),
}  # fmt: skip


def _layers(widths: Widths) -> list[nn.Module]:
    """The 34 layers: down to a 64th, up to an 8th again, and down once more."""
    short, long, longest = widths.blocks
    w2, w3, w4, w5, w6 = widths.stages
    down = [Conv(3, widths.stem, 6, 2, 2)]
    ins = widths.stem
    for outs, blocks in zip((w2, w3, w4, w5, w6), (short, long, longest, short, short), strict=True):
        down += [Conv(ins, outs, 3, 2), C3(outs, outs, blocks, shortcut=True)]
        ins = outs
    return [
        *down, Pyramid(w6),
        Conv(w6, w5), Double(), Joined(), C3(2 * w5, w5, short, shortcut=False),
        Conv(w5, w4), Double(), Joined(), C3(2 * w4, w4, short, shortcut=False),
        Conv(w4, w3), Double(), Joined(), C3(2 * w3, w3, short, shortcut=False),
        Conv(w3, w3, 3, 2), Joined(), C3(2 * w3, w4, short, shortcut=False),
        Conv(w4, w4, 3, 2), Joined(), C3(2 * w4, w5, short, shortcut=False),
        Conv(w5, w5, 3, 2), Joined(), C3(2 * w5, w6, short, shortcut=False),
        Detect((w3, w4, w5, w6)),
    ]  # fmt: skip
