"""A source by what somebody typed: a URL, a folder, or a Parquet file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from sightline.collections import Collections
from sightline.errors import InvalidRequest
from sightline.fetching import FetchPolicy
from sightline.jobs.collections.kept_vectors import KeptVectors
from sightline.jobs.collections.plans import Plan, known_spaces
from sightline.jobs.collections.sources import Source
from sightline.jobs.collections.sources.documents import Documents, Patience
from sightline.jobs.collections.sources.folders import Folders
from sightline.jobs.collections.sources.parquet import ParquetFile
from sightline.jobs.collections.sources.service import LIST, CollectionService
from sightline.jobs.looking import for_many
from sightline.runtime.analyzer import Analyzer
from sightline.settings import Settings

# A folder to learn from is not counted beforehand; it has hundreds of pictures or more.
_PICTURES = 1000


@asynccontextmanager
async def source_of(
    written: str,
    settings: Settings,
    plan: Plan,
    *,
    fingerprints: Mapping[str, str] | None = None,
    name: str | None = None,
    patience: Patience | None = None,
) -> AsyncIterator[Source]:
    """The source that ``written`` means. Embedding is done in this process.

    Args:
        plan: how pictures are to be embedded, or how vectors were made where the source does not say.
        fingerprints: by space, of the models that made ready-made vectors.
        name: the collection's id, for a source that is one collection without saying which.

    Raises:
        InvalidRequest: it is none of these.
        UrlRefused: an address that cannot be one.
        ConfigurationError: a setting or a plug-in is wrong.
    """
    if written.lower().startswith(("http://", "https://")):
        base = written.removesuffix(LIST)
        policy = FetchPolicy.from_settings(settings)
        async with Documents(base, policy, patience=patience) as documents:
            yield CollectionService(
                documents,
                plan=plan,
                known=known_spaces(settings.plugins_dir),
                fingerprints=fingerprints,
            )
        return
    path, is_folder, is_file = await asyncio.to_thread(_found, written)
    if is_folder:
        kept = KeptVectors(Collections.from_settings(settings))
        try:
            async with Analyzer.create(for_many(settings, _PICTURES)) as analyzer:
                yield Folders(path, analyzer, plan, kept, name)
        finally:
            kept.close()
    elif is_file:
        yield ParquetFile(path, plan, fingerprints or {}, name)
    else:
        raise InvalidRequest(f"{written} is no URL, no folder and no Parquet file that is there")


def _found(written: str) -> tuple[Path, bool, bool]:
    path = Path(written).expanduser()
    return path, path.is_dir(), path.is_file()
