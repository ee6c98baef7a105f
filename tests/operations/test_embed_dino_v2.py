from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from sightline.capabilities import Capability
from sightline.capabilities.embedding import IMAGE_EMBEDDING
from sightline.errors import TargetNotFound
from sightline.operations import Inference, catalogue
from sightline.operations.embed_dino_v2 import EmbedDinoV2
from sightline.types import FaceContext, ModelRef, PixelBox, Provenance, Region, Target

VECTOR = np.arange(768, dtype=np.float32)
FACE = Region(Target.PROMINENT_FACE, PixelBox(1, 2, 30, 40))


class OneRegion:
    """A scene with a face; what it is asked for is what it answers with."""

    async def region(self, target: Target, context: FaceContext) -> Region:
        if target is Target.PROMINENT_FACE and context is FaceContext.WHOLE_IMAGE:
            raise TargetNotFound("no prominent face found")
        return FACE if target is Target.PROMINENT_FACE else Region(Target.WHOLE_IMAGE)

    def view(self, region: Region) -> Any:
        return region

    async def infer(self, capability: Any, subject: Any, space: str) -> Inference[Any]:
        self.subject = subject
        return Inference(VECTOR, ModelRef(space, "fingerprint", Provenance.EXPORTED))


class BySpace:
    """Models are called like their spaces."""

    def find(self, capability: Capability, space: str | None = None) -> str:
        assert capability is IMAGE_EMBEDDING
        assert space is not None
        return space


async def answer(scene: OneRegion, **params: Any) -> Any:
    operation = EmbedDinoV2()
    return await operation.run(scene, operation.Params.model_validate(params), BySpace())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("params", "model"),
    [({}, "dinov2-base"), ({"size": 224}, "dinov2-base"), ({"size": 518}, "dinov2-base-518")],
)
async def test_each_size_is_a_model_and_a_space(params: dict[str, Any], model: str) -> None:
    found = await answer(OneRegion(), **params)
    assert found.model.name == found.data.space == model
    assert (found.data.vector, found.data.dimensions) == (VECTOR.tolist(), 768)
    assert found.region == Region(Target.WHOLE_IMAGE)


async def test_a_face_is_looked_at_where_it_is_found() -> None:
    scene = OneRegion()
    found = await answer(scene, target="prominent_face")
    assert scene.subject == found.region == FACE
    with pytest.raises(TargetNotFound):
        await answer(scene, target="prominent_face", face_context="whole_image")


async def test_the_vector_is_written_as_asked() -> None:
    found = await answer(OneRegion(), normalize=True, encoding="base64")
    assert found.data.normalized
    assert isinstance(found.data.vector, str)


async def test_the_old_contract_gets_bare_floats() -> None:
    found = await answer(OneRegion())
    plain = catalogue()["embed_dino_v2"].plain(found.data)
    assert len(plain) == 768
    assert all(type(number) is float for number in plain)


@pytest.mark.parametrize("size", [0, 225, "large", None])
def test_other_sizes_are_refused(size: Any) -> None:
    with pytest.raises(ValidationError, match="size"):
        EmbedDinoV2.Params.model_validate({"size": size})
