"""The contracts that the server fulfils."""

from __future__ import annotations

from sightline.server import docs_page
from sightline.server.contract import Contract
from sightline.server.routes import health, v1
from sightline.server.routes.compat import atlas, clip_classifier, geoclip, image_embed

CONTRACTS: tuple[Contract, ...] = (
    health.CONTRACT,
    v1.CONTRACT,
    image_embed.CONTRACT,
    geoclip.CONTRACT,
    clip_classifier.CONTRACT,
    atlas.CONTRACT,
    docs_page.CONTRACT,
)
# Probes come without a key. /metrics is not among them: it tells how much the service is used, and Prometheus
# can send a bearer token.
PROBES = frozenset[str]().union(*(contract.probes for contract in CONTRACTS))
