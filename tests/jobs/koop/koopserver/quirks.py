"""Odd publications. Each is an alteration for ``KoopServer.alter``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from koopserver.archive import Alteration, Attachment, Decision, Illustration
from koopserver.pdf import pdf
from koopserver.pictures import huge_header, picture


def pdf_only(decision: Decision) -> Decision:
    """No XML among its items."""
    return replace(decision, manifestations=("metadata", "pdf"))


def repeated_type(decision: Decision) -> Decision:
    return replace(decision, types=("mededeling", *decision.types))


def ampersand_in_title(decision: Decision) -> Decision:
    return replace(decision, title='Bakker & Zonen <hoek> "Proefweg"')


def without_available(decision: Decision) -> Decision:
    """The record does not say its date; the index still does."""
    return replace(decision, says_available=False)


def default_namespace(decision: Decision) -> Decision:
    return replace(decision, default_namespace=True)


def byte_order_mark(decision: Decision) -> Decision:
    return replace(decision, byte_order_mark=True)


def capitals(decision: Decision) -> Decision:
    """``Illustratie`` with a capital and a namespace, as newer documents have it."""
    return replace(decision, capitals=True)


def entity_bomb(decision: Decision) -> Decision:
    return replace(decision, entity_bomb=True)


def bare(decision: Decision) -> Decision:
    """No pictures and no attachments."""
    return replace(decision, illustrations=(), attachments=())


# -- pictures ----------------------------------------------------------------------------------------------


def illustrated(*kinds: str, size: tuple[int, int] = (160, 110)) -> Alteration:
    """Exactly these pictures, and none above the title."""

    def alteration(decision: Decision) -> Decision:
        made = tuple(
            Illustration(f"{decision.identifier}-{at}.png", _seeded(kind, decision, at, size))
            for at, kind in enumerate(kinds, 1)
        )
        return replace(decision, illustrations=made)

    return alteration


def _seeded(kind: str, decision: Decision, at: int, size: tuple[int, int]) -> Callable[[], bytes]:
    return lambda: picture(kind, int(decision.year + decision.number) * 10 + at, size=size)


def one_illustration(name: str, content: bytes, *, status: int = 200) -> Alteration:
    """Exactly one picture, of this name and content; ``{id}`` in the name is the publication's."""

    def alteration(decision: Decision) -> Decision:
        named = name.replace("{id}", decision.identifier)
        return replace(decision, illustrations=(Illustration(named, lambda: content, status=status),))

    return alteration


def missing_picture(decision: Decision) -> Decision:
    return one_illustration("{id}-1.png", b"", status=404)(decision)


def png_called_jpg(decision: Decision) -> Decision:
    return one_illustration("{id}-1.jpg", picture("map", 5))(decision)


def truncated_png(decision: Decision) -> Decision:
    whole = picture("map", 5)
    return one_illustration("{id}-1.png", whole[: len(whole) // 2])(decision)


def huge_picture(decision: Decision) -> Decision:
    """Says it has 60,000 × 60,000 pixels."""
    return one_illustration("{id}-1.png", huge_header())(decision)


def climbing_name(decision: Decision) -> Decision:
    return one_illustration("../../x.png", picture("map", 5))(decision)


# -- attachments -------------------------------------------------------------------------------------------


def attached(
    content: bytes,
    filename: str = "Situatie.pdf",
    *,
    label: str = "bijlage",
    suffix: str = ".pdf",
    listing_status: int = 200,
) -> Alteration:
    """Exactly one attachment, with these bytes."""

    def alteration(decision: Decision) -> Decision:
        exb_id = f"exb-{decision.year}-{decision.number}1"
        made = Attachment(filename, exb_id, lambda: content, label, suffix, listing_status)
        return replace(decision, attachments=(made,))

    return alteration


def old_label(decision: Decision) -> Decision:
    """Under ``pdf`` where newer ones are under ``bijlage``."""
    return attached(pdf("map", seed=9), label="pdf")(decision)


def capital_suffix(decision: Decision) -> Decision:
    return attached(pdf("map", seed=9), suffix=".PDF")(decision)


def pipe_in_filename(decision: Decision) -> Decision:
    return attached(pdf("map", seed=9), "advies|politie.PDF", suffix=".PDF")(decision)


def two_attachments(decision: Decision) -> Decision:
    first = attached(pdf("map", seed=9))(decision).attachments[0]
    second = replace(
        first, filename="Advies.pdf", exb_id=first.exb_id[:-1] + "2", content=lambda: pdf("text", seed=8)
    )
    return replace(decision, attachments=(first, second))


def map_on_page_two(decision: Decision) -> Decision:
    return attached(pdf("text", "map", "text", seed=9))(decision)


def not_a_pdf(decision: Decision) -> Decision:
    return attached(b"PK\x03\x04 a document of another program")(decision)


def listing_missing(decision: Decision) -> Decision:
    return attached(pdf("map", seed=9), listing_status=404)(decision)


def listing_broken(decision: Decision) -> Decision:
    return attached(pdf("map", seed=9), listing_status=500)(decision)
