"""The fitted towers say, through the whole engine, what the loopback servers' pictures are."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from koopserver import pdf, pictures
from PIL import Image

from sightline.runtime.analyzer import Analyzer, Status, Task
from sightline.settings import Precision, Settings

KINDS = {
    ("map", (160, 110)): ("maps", True),
    ("aerial", (160, 110)): ("aerial_satellite", True),
    ("sign", (48, 48)): ("miscellaneous", False),
    ("logo", (80, 30)): ("miscellaneous", False),
}


@pytest.fixture
def settings(seeing_models: Path) -> Settings:
    return Settings(
        _env_file=None,
        models_dir=seeing_models,
        offline=True,
        allow_random_weights=True,
        precision=Precision.F32,
    )


async def answers(settings: Settings, *images: bytes) -> list[tuple[str, bool]]:
    task = Task("kind", "classify_zero_shot", {"label_set": "map-or-aerial"})
    found = []
    async with Analyzer.create(settings) as analyzer:
        for data in images:
            (outcome,) = await analyzer.analyze(analyzer.open(data), [analyzer.bind(task)])
            assert outcome.status is Status.OK, outcome.error
            result = outcome.answer.data
            found.append((result.label, result.verdicts["is_map_or_aerial"]))
    return found


async def test_pictures_are_told_apart(settings: Settings) -> None:
    kinds = [kind for kind in KINDS for _ in range(10)]
    images = [
        pictures.picture(kind, number, "jpg" if kind == "aerial" else "png", size)
        for number, (kind, size) in enumerate(kinds)
    ]
    found = Counter(zip(kinds, await answers(settings, *images), strict=True))
    assert found == Counter(dict.fromkeys(KINDS.items(), 10))


@pytest.mark.parametrize(("page", "expected"), [("map", ("maps", True)), ("text", ("miscellaneous", False))])
async def test_pages_are_told_apart(page: str, expected: tuple[str, bool], settings: Settings) -> None:
    images = []
    for seed in range(6):
        document = pypdfium2.PdfDocument(pdf.pdf(page, seed=seed))
        pixels = np.ascontiguousarray(
            document[0].render(scale=100 / 72, rev_byteorder=True).to_numpy()[..., :3]
        )
        document.close()
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        images.append(buffer.getvalue())
    assert await answers(settings, *images) == [expected] * 6
