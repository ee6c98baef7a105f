"""Libraries of photos over HTTP: ``/v1/libraries``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sightline.errors import InsufficientStorage, InvalidRequest, SightlineError
from sightline.imaging import Picture, encode_jpeg, resize
from sightline.jobs.libraries.duplicates import Kind, duplicate_groups
from sightline.jobs.libraries.indexing import Indexing
from sightline.jobs.libraries.report import library_report
from sightline.jobs.libraries.runs import Fate, Indexed
from sightline.jobs.libraries.searching import DEFAULT_MIN_SCORE, Found, Query, Searcher
from sightline.jobs.looking import read_image
from sightline.jobs.writing import replacing
from sightline.libraries import Filter, Item, Library
from sightline.libraries.filters import read_date, read_near
from sightline.runtime.analyzer import Analyzer
from sightline.runtime.engine import Context
from sightline.server import library_schemas as schemas
from sightline.server.answers import json_response, open_source
from sightline.server.bodies import ImageSource, images_of, media_type, read_images
from sightline.server.connections import while_connected
from sightline.server.json_bodies import read_json
from sightline.server.routes.collections import refuse_other_pages
from sightline.server.state import AppState, analyzer_of, state_of

router = APIRouter(prefix="/v1/libraries", tags=["libraries"])

ItemId = Annotated[int, Field(ge=1, lt=1 << 63)]
FieldsT = TypeVar("FieldsT", bound=BaseModel)

_MAX_ITEMS = 1_000
_THUMBNAIL_SIDE, _QUALITY = 320, 80


class SearchFields(BaseModel):
    """What a search asks for besides images. In the address, or in a JSON body."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = ""
    minus: list[str] = Field([], max_length=20)
    like: list[ItemId] = Field([], max_length=20)
    after: str | None = None
    before: str | None = None
    near: str | None = None
    where: str | None = None
    limit: int = Field(20, ge=1, le=_MAX_ITEMS)
    min_score: float = Field(DEFAULT_MIN_SCORE, ge=0, le=1)
    copies: bool = False

    def filter(self) -> Filter:
        """Raises InvalidRequest: a date, a circle or a condition cannot be read."""
        return Filter(
            after=read_date("after", self.after) if self.after else None,
            before=read_date("before", self.before) if self.before else None,
            near=read_near(self.near) if self.near else None,
            where=self.where or None,
        )


class DuplicateFields(BaseModel):
    """Which groups are wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: list[Kind] = list(Kind)
    limit: int = Field(_MAX_ITEMS, ge=1, le=_MAX_ITEMS)


class PageFields(BaseModel):
    """Which items are listed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after_id: int = Field(0, ge=0, lt=1 << 63)
    limit: int = Field(100, ge=1, le=_MAX_ITEMS)
    where: str | None = None


@router.get("", summary="Libraries", responses=schemas.LISTED)
async def libraries(request: Request) -> Response:
    """Every library with its photos, folders and models."""
    opened = state_of(request).libraries

    def reports() -> list[dict[str, Any]]:
        return [library_report(opened.get(name)) for name in opened.shelf.names()]

    return json_response({"libraries": await asyncio.to_thread(reports)})


@router.get("/{name}", summary="One library", responses=schemas.SHOWN)
async def library(request: Request, name: str) -> Response:
    """Photos, folders and models of one library."""
    found = await _library(request, name)
    return json_response(await asyncio.to_thread(library_report, found))


@router.post("/{name}/search", summary="Find photos", openapi_extra=schemas.SEARCH)
async def search(request: Request, name: str) -> Response:
    """Finds photos by words, by example, by place, date and stored answers.

    Fields are in the address or in a JSON body. Examples are images, sent as to ``/v1/analyze``, or ids of
    items, ``like``. ``score`` says how clearly a photo stands out of the library for this query, 0 to 1.
    """
    analyzer = analyzer_of(request)
    found = await _library(request, name)
    fields, images = await _search_body(request)
    wanted = fields.filter()

    async def searched() -> Found:
        pictures = [await open_source(analyzer, source) for source in images]
        query = Query(
            text=fields.text, minus=fields.minus, like=pictures, like_items=fields.like, wanted=wanted,
            most=fields.limit, min_score=fields.min_score, with_copies=fields.copies,
        )  # fmt: skip
        return await Searcher(analyzer, found).search(
            query, Context.lasting(analyzer.settings.request_timeout_s)
        )

    result = await while_connected(request, searched())
    warning = result.model.warning if result.model else None
    return json_response(
        {
            "hits": [hit.facts() for hit in result.hits],
            "searched": result.searched,
            "model": {"name": result.model.name, "fingerprint": result.model.fingerprint}
            if result.model
            else None,
            "warnings": [warning] if warning else [],
        }
    )


async def _search_body(request: Request) -> tuple[SearchFields, tuple[ImageSource, ...]]:
    if media_type(request) == "application/json":
        settings = analyzer_of(request).settings

        def read(value: Any) -> tuple[SearchFields, tuple[ImageSource, ...]]:
            if not isinstance(value, dict):
                raise InvalidRequest("the JSON must be an object with fields such as 'text' and 'images'")
            given = dict(value)
            images = images_of(given.pop("images", []), settings)
            return _fields(SearchFields, given), images

        return await read_json(request, read)
    query = request.query_params
    lists = {name: query.getlist(name) for name in ("minus", "like") if name in query}
    fields = _fields(SearchFields, {**query, **lists})
    return fields, await read_images(request, analyzer_of(request).settings)


def _fields(kind: type[FieldsT], given: dict[str, Any]) -> FieldsT:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:10])
        raise InvalidRequest(found) from None


@router.get("/{name}/duplicates", summary="Photos that show the same", responses=schemas.DUPLICATES)
async def duplicates(request: Request, name: str) -> Response:
    """Groups of equal files, copies of other quality, and bursts; ``best`` is the copy to keep."""
    found = await _library(request, name)
    query = request.query_params
    kinds = {"kind": query.getlist("kind")} if "kind" in query else {}
    fields = _fields(DuplicateFields, {**query, **kinds})
    groups = await asyncio.to_thread(duplicate_groups, found, fields.kind)
    return json_response({"groups": [group.facts() for group in groups[: fields.limit]]})


@router.get("/{name}/items", summary="Photos of a library", responses=schemas.ITEMS)
async def items(request: Request, name: str) -> Response:
    """Items in the order of their ids. ``next`` is the ``after_id`` of the following page."""
    found = await _library(request, name)
    fields = _fields(PageFields, dict(request.query_params))
    wanted = Filter(where=fields.where or None)
    page = await asyncio.to_thread(found.page, wanted, fields.after_id, fields.limit)
    following = page[-1].id if len(page) == fields.limit else None
    return json_response({"items": [item.facts() for item in page], "next": following})


@router.post("/{name}/items", summary="Add photos", status_code=201, openapi_extra=schemas.ADD)
async def add_items(request: Request, name: str) -> Response:
    """Keeps the images and makes them searchable. A library that is not there is made.

    An image that cannot be read is listed and stops no other.
    """
    refuse_other_pages(request)
    state = state_of(request)
    images = await read_images(request, state.analyzer.settings)
    if not images:
        raise InvalidRequest("the request has no image; send one as a file 'image', a 'url', or 'base64'")
    return json_response(await while_connected(request, _added(state, name, images)), 201)


async def _added(state: AppState, name: str, images: Sequence[ImageSource]) -> dict[str, Any]:
    folder = state.libraries.shelf.uploads(name)
    sources: dict[str, str] = {}
    failed: list[dict[str, str]] = []
    for source in images:
        try:
            path = await _kept(state.analyzer, source, folder)
        except SightlineError as error:
            failed.append({"source": source.label, "code": error.code, "reason": str(error)})
        else:
            sources[str(path)] = source.label
    library = await asyncio.to_thread(partial(state.libraries.get, name, create=True))
    spaces = [] if library.serving() else [state.analyzer.settings.library_space]
    reported = _Reported()
    await Indexing(state.analyzer, library, [], reported, spaces).add([Path(path) for path in sources])
    failed += [
        {"source": sources[each.path], "code": "invalid_image", "reason": each.reason}
        for each in reported.failures
    ]
    ids = await asyncio.to_thread(lambda: {path: library.known(path).get(path) for path in sources})
    added = [{"source": label, "id": known.id} for path, label in sources.items() if (known := ids[path])]
    return {"items": added, "failed": failed}


class _Reported:
    """Collects the photos that could not be added."""

    def __init__(self) -> None:
        self.failures: list[Indexed] = []

    def begin(self, total: int) -> None:
        """Nobody watches."""

    def __call__(self, indexed: Indexed) -> None:
        if indexed.fate is Fate.FAILED:
            self.failures.append(indexed)


async def _kept(analyzer: Analyzer, source: ImageSource, folder: Path) -> Path:
    """Write an image below ``folder``, under a name by its content."""
    data = source.data if source.data is not None else await analyzer.fetch_bytes(source.url or "")
    picture: Picture = await analyzer.engine.work(analyzer.open, data)
    path = folder / f"{picture.facts.sha256}.{picture.facts.format}"

    def write() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(data)

    try:
        await asyncio.to_thread(write)
    except OSError as error:
        raise InsufficientStorage("the image cannot be kept") from error
    return path


@router.get("/{name}/items/{item_id}", summary="One photo", responses=schemas.ITEM)
async def item(request: Request, name: str, item_id: int) -> Response:
    """What is known of a photo, with the stored answers."""
    library = await _library(request, name)
    found = await asyncio.to_thread(_item, library, item_id)
    answers = await asyncio.to_thread(library.answers, item_id)
    return json_response(found.facts() | {"answers": answers})


@router.delete("/{name}/items/{item_id}", summary="Forget a photo", status_code=204, responses=schemas.GONE)
async def delete_item(request: Request, name: str, item_id: int) -> Response:
    """Removes a photo from the library, and its file if it was sent here. Files of folders stay: the next
    ``sightline index`` finds them again."""
    refuse_other_pages(request)
    library = await _library(request, name)
    uploads = state_of(request).libraries.shelf.uploads(name)

    def forget() -> None:
        found = _item(library, item_id)
        with library.writing():
            library.remove([item_id])
        if Path(found.path).parent == uploads:
            Path(found.path).unlink(missing_ok=True)

    await asyncio.to_thread(forget)
    return Response(status_code=204)


@router.get("/{name}/items/{item_id}/thumbnail", summary="A small copy", responses=schemas.THUMBNAIL)
async def thumbnail(request: Request, name: str, item_id: int) -> Response:
    """A JPEG whose longer side has 320 pixels."""
    analyzer = analyzer_of(request)
    library = await _library(request, name)

    async def made() -> bytes:
        found = await asyncio.to_thread(_item, library, item_id)
        data = await asyncio.to_thread(read_image, found.path, analyzer.limits.max_bytes)
        picture: Picture = await analyzer.engine.work(analyzer.open, data)
        context = Context.lasting(analyzer.settings.request_timeout_s)
        jpeg: bytes = await analyzer.engine.decode((picture,), context, partial(_small, picture))
        return jpeg

    jpeg = await while_connected(request, made())
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})


async def _library(request: Request, name: str) -> Library:
    return await asyncio.to_thread(state_of(request).libraries.get, name)


def _item(library: Library, item_id: int) -> Item:
    found = library.item(item_id) if item_id < 1 << 63 else None
    if found is None:
        raise HTTPException(404, f"library {library.name} has no item {item_id}")
    return found


def _small(picture: Picture) -> bytes:
    scale = min(1.0, _THUMBNAIL_SIDE / max(picture.width, picture.height))
    width, height = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return encode_jpeg(resize(picture.reduced(min(width, height)), width, height), _QUALITY)
