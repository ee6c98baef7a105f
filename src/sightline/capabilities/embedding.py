"""Vectors of pictures and texts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightline.capabilities import Capability
from sightline.imaging import View

# float32 [dimensions], not scaled to length 1.
Embedding = NDArray[np.float32]

IMAGE_EMBEDDING: Capability[View, Embedding] = Capability("image_embedding", "A view as a vector.")
TEXT_EMBEDDING: Capability[str, Embedding] = Capability("text_embedding", "A text as a vector.")

CAPABILITIES = (IMAGE_EMBEDDING, TEXT_EMBEDDING)
