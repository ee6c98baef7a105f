"""The image-embed service as it was: torchvision, facenet-pytorch and transformers in f32.

Its models are those of December 2025: DINOv2 at 518 pixels, prepared as timm does, and BLIP large.

One request at a time, and boxes found for one task are reused by the next, as that service does. Weights are
random, from the same seed as ours; the face detector's are real.
Run: ``python -m bench.plain_image_embed PORT SEED``.
"""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import torch
import uvicorn
from facenet_pytorch import MTCNN
from fastapi import FastAPI, UploadFile
from PIL import Image
from torchvision.transforms.functional import to_tensor
from transformers import BitImageProcessorPil, BlipImageProcessorPil, CLIPImageProcessorPil

from bench import originals

PERSON = 1
CAPTION_TOKENS = 20
DINO, DINO_SIZE = "dinov2-base-518", 518
CAPTIONER = "blip-large"


class Models:
    """All five networks, and what the service does with each."""

    def __init__(self, seed: int) -> None:
        self.detector = originals.fasterrcnn(seed)
        self.faces = MTCNN(keep_all=True)
        self.clip = originals.clip_b_32_image(seed)
        self.dino = originals.dinov2_base(seed)
        self.blip = originals.blip_large(seed)
        self.clip_pixels = CLIPImageProcessorPil()
        self.dino_pixels = BitImageProcessorPil(
            size={"shortest_edge": DINO_SIZE},
            crop_size={"height": DINO_SIZE, "width": DINO_SIZE},
            image_mean=[0.485, 0.456, 0.406],
            image_std=[0.229, 0.224, 0.225],
        )
        self.blip_pixels = BlipImageProcessorPil()

    def person(self, picture: Image.Image) -> list[int] | None:
        found = self.detector([to_tensor(picture)])[0]
        scores = [
            (float(score), box)
            for box, label, score in zip(found["boxes"], found["labels"], found["scores"], strict=True)
            if int(label) == PERSON
        ]
        if not scores:
            return None
        return [int(corner) for corner in max(scores, key=lambda pair: pair[0])[1].tolist()]

    def face(self, picture: Image.Image, person: list[int] | None) -> list[int] | None:
        dx, dy = person[:2] if person else (0, 0)
        try:
            boxes, scores = self.faces.detect(picture.crop(person) if person else picture)
        except Exception:  # as that service: a crop too small for the detector is a picture without a face
            return None
        if boxes is None:
            return None
        x_min, y_min, x_max, y_max = boxes[int(np.argmax(scores))]
        return [int(x_min + dx), int(y_min + dy), int(x_max + dx), int(y_max + dy)]

    def embed_clip(self, picture: Image.Image) -> list[float]:
        pixels = self.clip_pixels(images=picture, return_tensors="pt")["pixel_values"]
        return self.clip(pixel_values=pixels).image_embeds[0].tolist()

    def embed_dino(self, picture: Image.Image) -> list[float]:
        pixels = self.dino_pixels(images=picture, return_tensors="pt")["pixel_values"]
        return self.dino(pixel_values=pixels).pooler_output[0].tolist()

    def caption(self, picture: Image.Image) -> list[int]:
        pixels = self.blip_pixels(images=picture, return_tensors="pt")["pixel_values"]
        options = {"max_length": CAPTION_TOKENS, "num_beams": 4, "early_stopping": True}
        return self.blip.generate(pixel_values=pixels, **options)[0].tolist()


def create(seed: int) -> FastAPI:
    models = Models(seed)
    app = FastAPI()

    @app.get("/livez")
    def livez() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/analyze")
    async def analyze(image: UploadFile) -> dict[str, Any]:
        picture = Image.open(io.BytesIO(await image.read())).convert("RGB")
        with torch.inference_mode():
            person = models.person(picture)
            face = models.face(picture, person)
            crops = {"person": picture.crop(person) if person else picture}
            if face:
                crops["face"] = picture.crop(face)
            return {
                "person": person,
                "face": face,
                "clip": models.embed_clip(picture),
                "dino": models.embed_dino(picture),
                "caption": models.caption(picture),
                **{f"clip_{name}": models.embed_clip(crop) for name, crop in crops.items()},
            }

    return app


if __name__ == "__main__":
    uvicorn.run(create(int(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
