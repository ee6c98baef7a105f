"""The service a developer writes first: FastAPI, Pillow, PyTorch in f32, one image per forward pass.

It answers with the same raw CLIP ViT-B/32 vector as ours, from the same random weights (same seed).
Run: ``python -m bench.plain_server PORT SEED``.
"""

from __future__ import annotations

import io
import sys

import torch
import uvicorn
from facenet_pytorch import MTCNN
from fastapi import FastAPI, UploadFile
from PIL import Image
from transformers import CLIPImageProcessor

from bench import originals


def create(seed: int) -> FastAPI:
    model = originals.clip_b_32_image(seed)
    processor = CLIPImageProcessor()
    faces = MTCNN(keep_all=True)
    app = FastAPI()

    @app.get("/livez")
    def livez() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/embed")
    def embed(image: UploadFile) -> list[float]:
        picture = Image.open(io.BytesIO(image.file.read())).convert("RGB")
        pixels = processor(images=picture, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            return model(pixel_values=pixels).image_embeds[0].tolist()

    @app.post("/faces")
    def boxes(image: UploadFile) -> list[list[float]]:
        picture = Image.open(io.BytesIO(image.file.read())).convert("RGB")
        found, _ = faces.detect(picture)
        return [] if found is None else found.tolist()

    return app


if __name__ == "__main__":
    uvicorn.run(create(int(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
