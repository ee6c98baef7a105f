"""The service of the image-embed contract: a list of collections, and labelled vectors for each.

``<base>/collections.json`` lists objects with ``id``, ``name`` and perhaps ``collection_focus``: by which
embedding (``embedding_type_name``) of which part of a picture (``derivative_type_name``) a collection is told
apart. Without it that is CLIP vectors of whole images. ``<base>/collections/<id>/training_data.json`` lists
objects with ``embedding`` and ``label``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection as Names
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from sightline.collections.records import COLLECTION_NAME
from sightline.errors import ExamplesUnreachable, InvalidExamples, InvalidParameters, UnknownModel
from sightline.jobs.collections.embedding import Embedded
from sightline.jobs.collections.examples import examples
from sightline.jobs.collections.plans import Plan, with_fingerprints
from sightline.jobs.collections.sources import Offer, Report
from sightline.jobs.collections.sources.documents import Documents
from sightline.jobs.collections.sources.wrapped_json import list_in
from sightline.settings import MIB
from sightline.types import Target

LIST = "collections.json"
MAX_LIST_BYTES = 16 * MIB
# 50,000 vectors of 512 numbers with ten digits each, and room to spare.
MAX_EXAMPLES_BYTES = 512 * MIB


class CollectionService:
    """``plan`` is for collections the service says nothing of; ``known`` are the spaces there are models for
    here; ``fingerprints``, by space, are those of the models that made its vectors, where somebody knows."""

    def __init__(
        self,
        documents: Documents,
        *,
        plan: Plan | None = None,
        known: Names[str] | None = None,
        fingerprints: Mapping[str, str] | None = None,
    ) -> None:
        self._documents = documents
        self._plan = plan or Plan()
        self._known = known
        self._fingerprints = fingerprints or {}

    async def offers(self) -> list[Offer]:
        """See ``Source``."""
        listed = await self._list(LIST, MAX_LIST_BYTES)
        return [self._offer(entry, number) for number, entry in enumerate(listed)]

    async def examples(self, offer: Offer, report: Report) -> Embedded:
        """See ``Source``."""
        report("fetching examples", 0, None)
        path = f"collections/{quote(offer.collection, safe='')}/training_data.json"
        listed = await self._list(path, MAX_EXAMPLES_BYTES)
        return await asyncio.to_thread(self._made, listed, offer.plan)

    def _made(self, listed: list[Any], plan: Plan) -> Embedded:
        for number, entry in enumerate(listed):
            if not isinstance(entry, dict) or not {"embedding", "label"} <= entry.keys():
                raise InvalidExamples(f"example {number} is no object with 'embedding' and 'label'")
        return Embedded(
            examples(
                [_numbers(entry["embedding"], number) for number, entry in enumerate(listed)],
                [entry["label"] for entry in listed],
                with_fingerprints(plan.spaces, self._fingerprints),
                target=plan.target,
                face_context=plan.face_context,
            )
        )

    async def _list(self, path: str, max_bytes: int) -> list[Any]:
        data = await self._documents.fetch(path, max_bytes)
        try:
            return await asyncio.to_thread(list_in, data)
        except ValueError as error:
            raise ExamplesUnreachable(f"{self._documents.base}/{path} is {error}") from None

    def _offer(self, entry: Any, number: int) -> Offer:
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int | str):
            return Offer(f"entry {number}", problem=f"entry {number} of {LIST} is no object with an 'id'")
        identity, title = str(entry["id"]), str(entry.get("name") or "")
        if not re.fullmatch(COLLECTION_NAME, identity):
            return Offer(identity[:100], title, problem="this cannot be a collection's id")
        try:
            return Offer(identity, title, self._planned(entry.get("collection_focus")))
        except (InvalidParameters, UnknownModel) as error:
            return Offer(identity, title, problem=str(error))

    def _planned(self, focus: Any) -> Plan:
        if focus is None:
            return self._plan
        if not isinstance(focus, dict):
            raise InvalidParameters("its 'collection_focus' must be an object")
        plan = self._plan
        if embedding := focus.get("embedding_type_name"):
            plan = plan.of_spaces(str(embedding), self._known)
        if target := focus.get("derivative_type_name"):
            if target not in list(Target):
                allowed = ", ".join(each.value for each in Target)
                raise InvalidParameters(
                    f"its derivative_type_name is {str(target)[:100]!r}; known are {allowed}"
                )
            plan = replace(plan, target=Target(target))
        return plan


def _numbers(embedding: Any, number: int) -> Any:
    """A list of numbers. ``examples`` says what is wrong with its values."""
    if not isinstance(embedding, list):
        raise InvalidExamples(f"the embedding of example {number} is no list of numbers")
    return embedding
