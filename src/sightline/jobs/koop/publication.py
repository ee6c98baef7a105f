"""The text of a publication, for the pictures in it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Illustration:
    """A picture in a publication.

    Attributes:
        name: a plain file name; its suffix may be a lie.
        alt: what its author wrote for those who cannot see it.
        text_before: the line of text before it, at most 300 characters; often the caption.
        width_mm: printed width; None where it is not given as a length.
        height_mm: printed height, likewise.
        in_heading: it stands in a heading, as logos do.
        kind: ``foto`` or ``lijn``, by its author.
    """

    name: str
    alt: str
    text_before: str
    width_mm: float | None
    height_mm: float | None
    in_heading: bool
    kind: str

    @property
    def is_logo(self) -> bool:
        """By its place or by its own words."""
        return self.in_heading or self.alt.strip().lower().startswith("logo")


@dataclass(frozen=True, slots=True)
class Publication:
    """``refused`` are names of pictures that are no plain file names, as written (at most 100 characters)."""

    illustrations: tuple[Illustration, ...]
    refused: tuple[str, ...]


def read_publication(data: bytes) -> Publication:
    """The pictures of a publication in the order of its text, each name once.

    Raises:
        BadDocument: cut short, or no XML, or a web page.
        DocumentRefused: it declares entities.
    """
    raise NotImplementedError


def illustration_url(base_url: str, name: str) -> str:
    """Where the picture ``name`` lies: beside the publication's page, whose URL is ``base_url``.

    ``name`` is a plain file name, so the host is always that of ``base_url``.
    """
    raise NotImplementedError


def clean_name(name: str) -> str | None:
    """The file name in ``name`` without folders; None if there is none, or it climbs or names a host."""
    raise NotImplementedError
