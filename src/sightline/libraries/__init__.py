"""Libraries: photos that can be searched by words, by example, by place and date.

A library is one SQLite file. It is the only truth: vectors are rows of it, and what a search reads in memory
(:mod:`sightline.libraries.vectors`) is derived from them and can be deleted at any time.
"""

from sightline.libraries.filters import Filter
from sightline.libraries.items import Item, ModelState, NewItem, VectorModel
from sightline.libraries.library import Library, open_library
from sightline.libraries.shelf import Shelf

__all__ = [
    "Filter",
    "Item",
    "Library",
    "ModelState",
    "NewItem",
    "Shelf",
    "VectorModel",
    "open_library",
]
