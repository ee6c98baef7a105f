"""Searching a library by words, by example, and by what the photos are not.

A score says how clearly a photo stands out of the library for this query, 0 to 1. Cosines of texts and
pictures lie in a narrow band that differs from query to query, so a fixed limit on them means nothing. Here
the similarity is measured in spreads above the median of all photos, ``z``, and ``score = Φ(z - 3)``: 0.5 at
three spreads, where one photo in 700 would be by chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sightline.capabilities.embedding import IMAGE_EMBEDDING, TEXT_EMBEDDING
from sightline.errors import InvalidRequest, LibraryOutdated, ModelUnavailable, UnknownModel
from sightline.imaging import Picture, View
from sightline.libraries import Filter, Item, Library, VectorModel
from sightline.libraries.vectors import Floats, Ids, Matches
from sightline.runtime.analyzer import Analyzer
from sightline.runtime.engine import Context

# The weight of what the photos should not show.
_MINUS = 0.5
# Reciprocal rank fusion (Cormack et al. 2009): how little the first ranks stand out.
_FUSION = 60
_MAX_TEXT = 1_000
# Below this many photos a spread says nothing, and none is left out.
_FEW = 30
# Two spreads above the median, as one photo in 44 would be by chance.
DEFAULT_MIN_SCORE = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to look for. ``like_items`` are ids of the library; ``min_score`` leaves out what is less sure."""

    text: str = ""
    minus: Sequence[str] = ()
    like: Sequence[Picture] = ()
    like_items: Sequence[int] = ()
    wanted: Filter = field(default_factory=Filter)
    most: int = 20
    min_score: float = DEFAULT_MIN_SCORE
    with_copies: bool = False

    @property
    def has_vector(self) -> bool:
        """Whether there is something to be like."""
        return bool(self.text or self.like or self.like_items)


@dataclass(frozen=True, slots=True)
class Hit:
    """One photo that was found.

    Attributes:
        score: 0 to 1; None if nothing was compared.
        similarity: cosine to the query.
        matched: ``picture``, ``words``, or both: what it was found by.
        copies: ids of equal files that are left out.
    """

    item: Item
    score: float | None
    similarity: float | None
    matched: tuple[str, ...]
    copies: tuple[int, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Return what people and programs are shown, by name."""
        return {
            "score": None if self.score is None else round(self.score, 4),
            "similarity": None if self.similarity is None else round(self.similarity, 4),
            "matched": list(self.matched),
            "copies": list(self.copies),
            **self.item.facts(),
        }


@dataclass(frozen=True, slots=True)
class Found:
    """The photos that were found, the best first, among ``searched`` that pass the filter."""

    hits: list[Hit]
    searched: int
    model: VectorModel | None = None


class Searcher:
    """Searches one library with the models of an analyzer."""

    def __init__(self, analyzer: Analyzer, library: Library) -> None:
        self._analyzer = analyzer
        self._library = library

    async def search(self, query: Query, context: Context) -> Found:
        """Find photos. Without words and examples, all that pass the filter, the newest first.

        Raises:
            InvalidRequest: the query or its filter cannot be read, or an item is not in the library.
            LibraryOutdated: the installed model is not the one that the library's vectors are of.
            ModelUnavailable, ModelLoading, ModelBroken, Overloaded, DeadlineExceeded: as for any inference.
        """
        if len(query.text) > _MAX_TEXT or any(len(text) > _MAX_TEXT for text in query.minus):
            raise InvalidRequest(f"the text has over {_MAX_TEXT} characters; expected at most {_MAX_TEXT}")
        work = self._analyzer.engine.work
        only = None if query.wanted.is_empty else await work(self._library.ids, query.wanted)
        searched = len(self._library) if only is None else len(only)
        if not query.has_vector:
            if query.minus:
                raise InvalidRequest(
                    "there is nothing to look for but what it is not; expected words or a photo"
                )
            return Found(await work(self._newest, query, only), searched)
        serving = self._library.serving()
        if not serving:
            return Found([], searched)
        model = serving[0]
        vector = await self._vector(query, model, context)
        return Found(await work(self._hits, query, model, vector, only), searched, model)

    async def _vector(self, query: Query, model: VectorModel, context: Context) -> Floats:
        total = np.zeros(model.dimensions, np.float32)
        if query.text:
            total += _scaled(await self._of_text(query.text, model, context))
        for picture in query.like:
            total += _scaled(await self._of_picture(picture, model, context))
        if query.like_items:
            index = await self._analyzer.engine.work(self._library.index, model)
            known = index.vectors(query.like_items)
            missing = [each for each in query.like_items if each not in known]
            if missing:
                raise InvalidRequest(f"like: {missing[0]}; expected the id of a photo of the library")
            for each in known.values():
                total += _scaled(each)
        for text in query.minus:
            total -= _MINUS * _scaled(await self._of_text(text, model, context))
        if not np.linalg.norm(total) > 0:
            raise InvalidRequest("the parts of the query cancel each other out")
        return total

    async def _of_text(self, text: str, model: VectorModel, context: Context) -> Floats:
        engine = self._analyzer.engine
        try:
            found = await engine.infer_with(TEXT_EMBEDDING, text, context, model.space)
        except (UnknownModel, ModelUnavailable):
            if any(
                TEXT_EMBEDDING in each.card.capabilities and each.card.space == model.space
                for each in self._analyzer.models.values()
            ):
                raise
            raise InvalidRequest(
                f"library {self._library.name!r} has vectors of {model.space}, which reads no words; "
                "expected a photo to be like"
            ) from None
        return found.output

    async def _of_picture(self, picture: Picture, model: VectorModel, context: Context) -> Floats:
        found = await self._analyzer.engine.infer_with(IMAGE_EMBEDDING, View(picture), context, model.space)
        if found.model.fingerprint != model.fingerprint:
            raise LibraryOutdated.by_fingerprints(
                self._library.name, model.name, model.fingerprint, found.model.fingerprint
            )
        return found.output

    def _newest(self, query: Query, only: Ids | None) -> list[Hit]:
        ids = self._library.ids(query.wanted) if only is None else only
        items = self._library.items_of(ids.tolist())
        items.sort(key=lambda item: (item.taken_at or "", item.id), reverse=True)
        return [Hit(item, None, None, ()) for item in items[: query.most]]

    def _hits(self, query: Query, model: VectorModel, vector: Floats, only: Ids | None) -> list[Hit]:
        # Copies are taken out after the search, so more than are wanted are looked for.
        most = query.most if query.with_copies else 4 * query.most
        near = self._library.nearest(model, vector, most, only)
        scores = self._scores(near)
        by_picture = {
            int(item): (score, float(similarity))
            for item, score, similarity in zip(near.items, scores, near.similarities, strict=True)
            if score is None or score >= query.min_score
        }
        by_words = self._library.with_words(query.text, most, only) if query.text else []
        ranked = _fused(list(by_picture), by_words)
        named = set(by_words)
        hits = [
            Hit(
                item,
                by_picture.get(item.id, (None, None))[0],
                by_picture.get(item.id, (None, None))[1],
                tuple(
                    kind for kind, found in (("picture", by_picture), ("words", named)) if item.id in found
                ),
            )
            for item in self._library.items_of(ranked)
        ]
        return (hits if query.with_copies else _without_copies(hits))[: query.most]

    def _scores(self, near: Matches) -> list[float | None]:
        if near.spread <= 0 or len(self._library) < _FEW:
            return [None] * len(near.items)
        return [_score((similarity - near.median) / near.spread) for similarity in near.similarities.tolist()]


def _score(z: float) -> float:
    return 0.5 * (1 + math.erf((z - 3) / math.sqrt(2)))


def _scaled(vector: Floats) -> Floats:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def _fused(by_picture: Sequence[int], by_words: Sequence[int]) -> list[int]:
    """Both rankings as one."""
    worth: dict[int, float] = {}
    for ranking in (by_picture, by_words):
        for rank, item_id in enumerate(ranking):
            worth[item_id] = worth.get(item_id, 0.0) + 1 / (_FUSION + rank)
    return sorted(worth, key=lambda item_id: (-worth[item_id], item_id))


def _without_copies(hits: Sequence[Hit]) -> list[Hit]:
    """The first of each content, with the ids of the others."""
    by_content: dict[str, list[Hit]] = {}
    for hit in hits:
        by_content.setdefault(hit.item.sha256, []).append(hit)
    return [
        Hit(first.item, first.score, first.similarity, first.matched, tuple(each.item.id for each in others))
        for first, *others in by_content.values()
    ]
