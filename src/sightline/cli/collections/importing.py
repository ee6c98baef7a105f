"""``sightline collections import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from sightline.cli.collections.choosing import CollectionsDir, Fingerprints, collections_of, fingerprints_of
from sightline.cli.console import stdout
from sightline.cli.options import ModelsDir, settings_from
from sightline.cli.problems import FAILED, say
from sightline.types import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sightline.collections import Collections, Record
    from sightline.jobs.collections.pickles import OldEntry


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="OLD.pkl",
            exists=True,
            dir_okay=False,
            show_default=False,
            help="A pickled classifier of the image-embed service, or its best_models.json for all it lists.",
        ),
    ],
    trust: Annotated[
        bool,
        typer.Option("--trust", help="You know who made the file: opening a pickle runs the code in it."),
    ] = False,
    collection: Annotated[
        str | None,
        typer.Option(
            metavar="ID", show_default="as the index beside it or its name says", help="What it is of."
        ),
    ] = None,
    embedding: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="embed_clip_vit_b_32",
            help="With --collection: what it was trained on, in that service's words.",
        ),
    ] = None,
    target: Annotated[
        Target | None,
        typer.Option(show_default="whole_image", help="With --collection: the part it was trained on."),
    ] = None,
    fingerprint: Fingerprints = None,
    promote: Annotated[
        bool | None,
        typer.Option(
            "--promote/--no-promote", show_default="if nothing of it serves yet", help="Let it serve."
        ),
    ] = None,
    collections_dir: CollectionsDir = None,
    models_dir: ModelsDir = None,
) -> None:
    """Turn classifiers of the image-embed service into plain numbers. Needs scikit-learn; serving does not.

    What each was trained on is read from the best_models.json beside it.

    [bold]Examples[/]

      [cyan]sightline collections import trained_classifiers/best_models.json --trust[/]
      [cyan]sightline collections import collection_7_classifier_20251004_120000.pkl --trust[/]
      [cyan]sightline collections import old.pkl --trust --collection 7 --target prominent_face[/]
    """
    from sightline.errors import CollectionError, InputError
    from sightline.jobs.collections.pickles import import_pickle

    settings = settings_from(models_dir=models_dir, collections_dir=collections_dir)
    collections, fingerprints = collections_of(settings), fingerprints_of(fingerprint)
    failed = False
    for path, entry in _files(file, collection, embedding, target):
        try:
            done = import_pickle(
                path, collections, trusted=trust, entry=entry, fingerprints=fingerprints, promote=promote
            )
        except (InputError, CollectionError) as error:
            if path == file:
                raise
            failed = True
            say(f"{path.name}: {error}")
            continue
        record = done.record
        how = "it serves" if _serves(collections, record) else "it does not serve"
        stdout().print(
            Text(f"{path.name} is version {record.version} of collection {record.collection}; {how}")
        )
    if failed:
        raise typer.Exit(FAILED)


def _serves(collections: Collections, record: Record) -> bool:
    collection = collections.collection(record.collection)
    return collection.signature() is not None and collection.index().serving == record.version


def _files(
    file: Path, collection: str | None, embedding: str | None, target: Target | None
) -> Iterator[tuple[Path, OldEntry | None]]:
    from sightline.errors import InvalidRequest
    from sightline.jobs.collections.pickles import DEFAULT_EMBEDDING, OldEntry, old_entries

    named = (embedding, target) != (None, None)
    if file.suffix == ".json":
        if collection or named:
            raise InvalidRequest(f"{file.name} says itself what each classifier is of")
        for entry in old_entries(file):
            yield file.with_name(entry.file_name), entry
    elif collection:
        embedding, target = embedding or DEFAULT_EMBEDDING, target or Target.WHOLE_IMAGE
        yield file, OldEntry(collection, file.name, target, embedding)
    elif named:
        raise InvalidRequest("--embedding and --target go with --collection")
    else:
        yield file, None
