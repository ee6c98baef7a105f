"""Classifiers of the user's own collections."""

from __future__ import annotations

from sightline.capabilities import Capability
from sightline.collections import Classifier

# The subject is the collection's id.
MEMBERSHIP: Capability[str, Classifier] = Capability("membership", "The classifier of a collection.")

CAPABILITIES = (MEMBERSHIP,)
