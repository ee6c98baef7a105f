"""Documents of a few public archives, fetched by a politeness policy.

A fixed list of hosts, a token bucket per host that all workers share and that learns the host's own rate,
retries with jitter, a circuit breaker, and caps on everything that is read. What came back is bytes and
their headers; what they mean is for the caller to say.

    async with PoliteClient(PolitenessPolicy(contact="https://example.org/about"), [archive_url]) as client:
        document = await client.fetch(f"{archive_url}/a.xml", max_bytes=5_000_000)
"""

from sightline.jobs.koop.polite.body import BadDocument, Document, Unchanged
from sightline.jobs.koop.polite.bucket import Learned
from sightline.jobs.koop.polite.client import PoliteClient
from sightline.jobs.koop.polite.clock import SYSTEM_CLOCK, Clock
from sightline.jobs.koop.polite.host import Traffic
from sightline.jobs.koop.polite.policy import PolitenessPolicy
from sightline.jobs.koop.polite.silence import Doing, Silence

__all__ = [
    "SYSTEM_CLOCK",
    "BadDocument",
    "Clock",
    "Document",
    "Doing",
    "Learned",
    "PoliteClient",
    "PolitenessPolicy",
    "Silence",
    "Traffic",
    "Unchanged",
]
