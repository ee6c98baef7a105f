"""Sightline: one engine that answers questions about a photo.

Importing this package is cheap on purpose (no runtimes, no image codecs): start from
:mod:`sightline.runtime` to analyse pictures in a program, or from the ``sightline`` command.
"""

__version__ = "0.1.0"
