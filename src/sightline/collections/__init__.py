"""Classifiers of the user's own collections: what is stored of them and how they judge.

::

    <root>/<collection>/index.json             which version serves, which served before, how all compare
    <root>/<collection>/versions/<version>.npz    weights float64 [dimensions] and intercept float64 []
    <root>/<collection>/versions/<version>.json   all that is known of them
    <root>/.locks/<collection>.lock            held by whoever changes the collection

Every JSON file carries its own digest and a version's also that of its numbers, so damage is noticed before
it answers anything. Files are complete or not there; a version serves from the instant ``index.json`` is
replaced by one that says so. Reading needs numpy alone and runs no code from the files.
"""

from sightline.collections.classifier import Classifier, Judgement
from sightline.collections.collection import Change, Collection, Collections
from sightline.collections.records import Index, Ranked, Recipe, Record, Scores, Space

__all__ = [
    "Change",
    "Classifier",
    "Collection",
    "Collections",
    "Index",
    "Judgement",
    "Ranked",
    "Recipe",
    "Record",
    "Scores",
    "Space",
]
