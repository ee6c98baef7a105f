"""Whether a picture is safe to show."""

from __future__ import annotations

from sightline.capabilities import Capability
from sightline.imaging import View

NSFW_SCORE: Capability[View, float] = Capability("nsfw_score", "How likely a view is unsafe, 0 to 1.")

CAPABILITIES = (NSFW_SCORE,)
