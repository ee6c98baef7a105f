"""What models with a CLIP tower inside share. No model stands here: the families beside it build on this.

The numbers are those of the reference preprocessing (github.com/openai/CLIP, ``clip.py``).
"""

from __future__ import annotations

from sightline.models.embedders import Square
from sightline.weights.sources import HubFile

SQUARE = Square(
    short_side=224,
    size=224,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
VIT_L_14_GRAPH = HubFile(
    "Xenova/clip-vit-large-patch14",
    "onnx/vision_model.onnx",
    "c307790166907339eed5a9a53a249af534102536",
)
VIT_L_14_SHA256 = "ff49f8aa57c7abfd26e382eb083e4dbf988505223a9bd3767dbfd4e729206709"
VIT_L_14_BYTES = 1_216_438_437
