"""MegaDetector and SpeciesNet as a program runs them per request: PyTorch in f32, one photo at a time.

Both networks are whole and of the true size; weights are random, from the same seed as ours. A photo goes
through the detector, then each detection that is sure enough through the classifier, eight at a time. The
rules are left out: they cost nothing.
Run: ``python -m bench.plain_wildlife PORT SEED``.
"""

from __future__ import annotations

import io
import sys
from typing import Any

import cv2
import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.ops import box_convert, nms
from torchvision.transforms.functional import InterpolationMode, resize

from bench import originals

LONG_SIDE, STEP, GREY = 1280, 64, 114
LEAST_SCORE, OVERLAP, MOST = 0.01, 0.45, 300
CROP_SIDE, CROPS_AT_ONCE = 480, 8
# The random detector is at least 0.1 sure of a hundred things per photo; of so much, it is of a few.
SURE = 0.7


class Models:
    """Both networks, and what is done around them."""

    def __init__(self, seed: int) -> None:
        self.detector = originals.megadetector(seed)
        self.classifier = originals.speciesnet(seed)

    def detect(self, pixels: np.ndarray) -> Tensor:
        """Boxes in pixels of the photo, score and class: [n, 6], the surest first."""
        boxed, ratio, left, top = letterbox(pixels)
        candidates = self.detector(torch.from_numpy(boxed).permute(2, 0, 1)[None].float() / 255)[0]
        candidates = candidates[candidates[:, 4] > LEAST_SCORE]
        scores, classes = (candidates[:, 5:] * candidates[:, 4:5]).max(1)
        likely = scores > LEAST_SCORE
        boxes, scores, classes = candidates[likely, :4], scores[likely], classes[likely]
        corners = box_convert(boxes, "cxcywh", "xyxy")
        kept = nms(corners + classes[:, None] * 7680, scores, OVERLAP)[:MOST]
        placed = (corners[kept] - torch.tensor([left, top, left, top])) / ratio
        height, width = pixels.shape[:2]
        placed[:, 0::2] = placed[:, 0::2].clamp(0, width)
        placed[:, 1::2] = placed[:, 1::2].clamp(0, height)
        return torch.cat([placed.round(), scores[kept, None], classes[kept, None].float()], 1)

    def classify(self, pixels: np.ndarray, found: Tensor) -> list[list[float]]:
        """The five highest probabilities of each detection's crop."""
        picture = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        crops = []
        for x_min, y_min, x_max, y_max in found[:, :4].int().tolist():
            crop = picture[:, y_min : max(y_max, y_min + 1), x_min : max(x_max, x_min + 1)]
            stretched = resize(crop, [CROP_SIDE, CROP_SIDE], InterpolationMode.BILINEAR, antialias=False)
            crops.append((stretched * 255.999).byte().float().permute(1, 2, 0) / 255)
        answers: list[list[float]] = []
        for batch in torch.stack(crops).split(CROPS_AT_ONCE) if crops else ():
            answers += self.classifier(batch).softmax(1).topk(5).values.tolist()
        return answers


def letterbox(pixels: np.ndarray) -> tuple[np.ndarray, float, int, int]:
    """The photo scaled and filled up to multiples of 64; the scale, and where it begins."""
    height, width = pixels.shape[:2]
    ratio = LONG_SIDE / max(height, width)
    inner_width, inner_height = round(width * ratio), round(height * ratio)
    spare_width, spare_height = -inner_width % STEP, -inner_height % STEP
    left, top = spare_width // 2, spare_height // 2
    scaled = cv2.resize(pixels, (inner_width, inner_height), interpolation=cv2.INTER_LINEAR)
    margins = (top, spare_height - top, left, spare_width - left)
    filled = cv2.copyMakeBorder(scaled, *margins, cv2.BORDER_CONSTANT, value=(GREY, GREY, GREY))
    return filled, ratio, left, top


def create(seed: int) -> FastAPI:
    models = Models(seed)
    app = FastAPI()

    @app.get("/livez")
    def livez() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/identify")
    async def identify(image: UploadFile) -> dict[str, Any]:
        picture = ImageOps.exif_transpose(Image.open(io.BytesIO(await image.read())).convert("RGB"))
        pixels = np.array(picture)
        with torch.inference_mode():
            found = models.detect(pixels)
            sure = found[found[:, 4] >= SURE]
            return {"detections": sure.tolist(), "scores": models.classify(pixels, sure)}

    return app


if __name__ == "__main__":
    uvicorn.run(create(int(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
