"""Options that commands about collections have in common, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.errors import InvalidRequest
from sightline.types import FaceContext, Target

if TYPE_CHECKING:
    from sightline.collections import Collections
    from sightline.jobs.collections.plans import Plan
    from sightline.settings import Settings

CollectionsDir = Annotated[
    Path | None,
    typer.Option(
        "--collections-dir",
        metavar="DIR",
        file_okay=False,
        show_default="SIGHTLINE_COLLECTIONS_DIR or collections/ in the models folder",
        help="Where classifiers lie.",
    ),
]
Identity = Annotated[
    str, typer.Argument(metavar="ID", show_default=False, help="A collection: a number or a name.")
]
SourceName = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="URL|FOLDER|PARQUET",
        show_default="SIGHTLINE_COLLECTIONS_SOURCE",
        help="Where examples come from: a service, a folder with in/ and out/ (or a folder of such), or a "
        "Parquet file with the columns embedding, label and perhaps collection_id.",
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--collection",
        metavar="ID",
        show_default="all the source has",
        help="Only this one; may be repeated. Of a source that is one collection: what it is called.",
    ),
]
Embedding = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="clip, dinov2, clip+dinov2, or any space of [cyan]sightline models list[/]: how pictures are "
        "embedded, or ready-made vectors were where the source does not say.",
    ),
]
Part = Annotated[Target, typer.Option("--target", help="The part of each picture that is embedded.")]
FaceWithin = Annotated[FaceContext, typer.Option("--face-context", help="Where faces are looked for.")]
Fingerprints = Annotated[
    list[str] | None,
    typer.Option(
        "--fingerprint",
        metavar="SPACE=HEX",
        show_default="unknown",
        help="Of the model that made ready-made vectors, as [cyan]sightline models list[/] shows it; may be "
        "repeated. Without it answers carry a warning.",
    ),
]

_FINGERPRINT = re.compile(r"[0-9a-f]{8,64}")


def collections_of(settings: Settings) -> Collections:
    from sightline.collections import Collections

    return Collections.from_settings(settings)


def plan_of(settings: Settings, embedding: str, target: Target, face_context: FaceContext) -> Plan:
    """Raises InvalidParameters and UnknownModel for embeddings there are none of."""
    from sightline.jobs.collections.plans import Plan, known_spaces

    known = known_spaces(settings.plugins_dir)
    return Plan(target=target, face_context=face_context).of_spaces(embedding, known)


def fingerprints_of(written: Sequence[str] | None) -> dict[str, str]:
    """``["clip=0123456789abcdef"]`` by space.

    Raises:
        InvalidRequest: one is not of that form.
    """
    from sightline.jobs.collections.plans import spaces_of

    found = {}
    for each in written or ():
        space, equals, fingerprint = each.partition("=")
        if not equals or not _FINGERPRINT.fullmatch(fingerprint):
            raise InvalidRequest(f"--fingerprint {each[:100]!r} is not of the form clip=0123456789abcdef")
        found[spaces_of(space)[0]] = fingerprint
    return found
