"""A stand-in for the Dutch official-publications servers, on loopback and made of nothing but a seed.

``KoopServer`` plays three hosts on three ports: the search service with its repository of documents, the
reader's site with the illustrations, and the host of external attachments. Every URL it gives out leads back
to itself. From the folder above: ``python -m koopserver --help`` runs one by hand.
"""

from koopserver import faults, pdf, pictures, quirks
from koopserver.archive import Archive, Attachment, Decision, Illustration
from koopserver.faults import Fault
from koopserver.rate import Rate
from koopserver.server import KoopServer, Logged
from koopserver.wire import Request, Response

__all__ = [
    "Archive",
    "Attachment",
    "Decision",
    "Fault",
    "Illustration",
    "KoopServer",
    "Logged",
    "Rate",
    "Request",
    "Response",
    "faults",
    "pdf",
    "pictures",
    "quirks",
]
