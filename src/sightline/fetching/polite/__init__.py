"""Documents of a few public archives, fetched with manners.

A fixed list of hosts, a token bucket per host that all workers share and that learns the host's own rate,
retries with jitter, a circuit breaker, and caps on everything that is read. What came back is bytes and
their headers; what they mean is for the caller to say.

    async with PoliteClient(Manners(contact="https://example.org/about"), [archive_url]) as client:
        document = await client.fetch(f"{archive_url}/a.xml", max_bytes=5_000_000)
"""

from sightline.fetching.polite.body import BadDocument, Document, Unchanged
from sightline.fetching.polite.bucket import Learned
from sightline.fetching.polite.client import PoliteClient
from sightline.fetching.polite.clock import SYSTEM_CLOCK, Clock
from sightline.fetching.polite.host import Traffic
from sightline.fetching.polite.manners import Manners
from sightline.fetching.polite.silence import Doing, Silence

__all__ = [
    "SYSTEM_CLOCK",
    "BadDocument",
    "Clock",
    "Document",
    "Doing",
    "Learned",
    "Manners",
    "PoliteClient",
    "Silence",
    "Traffic",
    "Unchanged",
]
