"""Pictures of noise at several scales, and networks of random weights made to tell them apart.

As libraries draw them, weights make deep networks that answer nearly the same whatever they see. Here every
normalisation learns the mean and spread of its own inputs, once, much as it would in training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def draw(count: int, side: int) -> Tensor:
    """f32 ``[count, 3, side, side]`` between 0 and 1, with contrast, from torch's own generator."""
    layers = [
        functional.interpolate(torch.rand(count, 3, size, size), size=side, mode="bilinear") - 0.5
        for size in (1, 3, 8, 24, side)
    ]
    mixed = sum(layers, start=torch.full((count, 3, 1, 1), 0.5))
    return mixed.clamp(0, 1)


def settle(model: nn.Module, clouds: Tensor, run: Callable[[Tensor], Any]) -> None:
    """Draw the convolutions of ``model`` anew, and let its normalisations take over what they get to see.

    ``run`` is the part of the model that counts. Normalised numbers are moved to where activations are nearly
    straight lines: a hundred bent ones in a row would drown everything in rounding errors. The model is in
    evaluation mode afterwards.
    """
    model.eval()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.constant_(layer.weight, 0.7)
            nn.init.constant_(layer.bias, 2.0)
    handles = [
        layer.register_forward_pre_hook(_learn)
        for layer in model.modules()
        if isinstance(layer, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        run(clouds)
    for handle in handles:
        handle.remove()


def _learn(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    variance, mean = torch.var_mean(inputs[0], (0, 2, 3), unbiased=False)
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance.clamp(min=0.1 * variance.mean()))
