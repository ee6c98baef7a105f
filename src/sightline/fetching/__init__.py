"""Untrusted URL in, bytes out. The only place that opens outbound sockets for images.

A URL comes from a stranger and the machine it names may be ours. So a name is resolved once, every address
it has must be public (or opened by the operator), and the connection goes to a checked address and nowhere
else: there is no second look-up that could answer differently. Redirects go through the same gate.

    async with Fetcher(FetchPolicy.from_settings(settings)) as fetcher:
        data = await fetcher.fetch("https://example.org/cat.jpg", max_bytes=5_000_000)

What came back is bytes and nothing more; whether they are an image is for ``sightline.imaging`` to say.
"""

from sightline.fetching.client import Fetcher
from sightline.fetching.policy import FetchPolicy
from sightline.fetching.resolver import Resolver

__all__ = ["FetchPolicy", "Fetcher", "Resolver"]
