"""Collections of the user's own: what there is, what serves, and teaching a new one. ``/v1/collections``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sightline.collections import Change, Classifier, Collection
from sightline.errors import InvalidRequest, UnknownCollection
from sightline.jobs.collections.reports import collection_report, collections_report, version_report
from sightline.jobs.collections.trainings import Trainings
from sightline.server import collection_schemas as schemas
from sightline.server.answers import json_response
from sightline.server.bodies import refuse_unknown
from sightline.server.json_bodies import read_json
from sightline.server.middleware.api_key import key_name
from sightline.server.state import analyzer_of, state_of
from sightline.server.training_bodies import read_training

router = APIRouter(prefix="/v1/collections", tags=["collections"])


@router.get("", summary="Collections and what serves of each", responses=schemas.LISTED)
async def collections(request: Request) -> Response:
    """Every collection with the version that serves, or with what is wrong with it."""
    found = await asyncio.to_thread(collections_report, state_of(request).trainings.collections)
    return json_response({"collections": found})


@router.get("/{collection_id}", summary="One collection and its versions", responses=schemas.SHOWN)
async def collection(request: Request, collection_id: str) -> Response:
    """All versions, the newest first, with scores on the newest held-out examples; and its trainings here."""
    trainings = state_of(request).trainings
    found = trainings.collections.collection(collection_id)
    report = await asyncio.to_thread(collection_report, found)
    jobs = [{"job": job.id, "state": job.state.value} for job in trainings.of(collection_id)]
    return json_response(report | {"trainings": jobs})


@router.post(
    "/{collection_id}/train",
    summary="Teach a collection from pictures",
    status_code=202,
    openapi_extra=schemas.TRAIN,
    responses=schemas.STARTED,
)
async def train(request: Request, collection_id: str) -> Response:
    """Starts a training in the background and answers with its job, 202; ``Location`` is where it is seen.

    Pictures that cannot be used are listed in the job's result and left out. The best of all versions serves
    when it is done, without a restart.
    """
    refuse_other_pages(request)
    trainings = state_of(request).trainings
    _check_id(trainings, collection_id)
    await trainings.admit(collection_id)
    body = await read_training(request, analyzer_of(request))
    job = trainings.start(collection_id, body.plan, body.supplied)
    where = f"/v1/collections/{collection_id}/train/{job.id}"
    return json_response(job.report(), 202, {"Location": where})


@router.get("/{collection_id}/train/{job_id}", summary="How a training is going", responses=schemas.JOB)
async def training(request: Request, collection_id: str, job_id: str) -> Response:
    """The state of one job: waiting, running, done, failed or cancelled. Ended ones are kept for a while."""
    job = state_of(request).trainings.find(collection_id, job_id)
    if job is None:
        raise HTTPException(404, "there is no such training, or it ended long ago")
    return json_response(job.report())


@router.post(
    "/{collection_id}/promote",
    summary="Let a stored version serve",
    openapi_extra=schemas.PROMOTE,
    responses=schemas.SERVING,
)
async def promote(request: Request, collection_id: str) -> Response:
    """The body names the ``version``."""
    version = await read_json(request, _version)

    def change(found: Collection, change: Change) -> Classifier:
        stored = found.versions()
        if version not in stored:
            there_are = ", ".join(stored) or "none"
            raise InvalidRequest(f"there is no version {version[:100]!r}; there are {there_are}")
        return change.promote(version)

    return await _changed(request, collection_id, change)


def _version(body: Any) -> str:
    if not isinstance(body, dict) or not isinstance(body.get("version"), str):
        raise InvalidRequest("the JSON must be an object with 'version', a string")
    refuse_unknown(body, {"version"}, "the request")
    version: str = body["version"]
    return version


@router.post("/{collection_id}/rollback", summary="Back to what served before", responses=schemas.SERVING)
async def rollback(request: Request, collection_id: str) -> Response:
    """Lets the version serve that did before; again, the one before that."""

    def change(found: Collection, change: Change) -> Classifier:
        if not set(found.index().history) & set(found.versions()):
            raise InvalidRequest("there is no earlier version to go back to")
        return change.roll_back()

    return await _changed(request, collection_id, change)


async def _changed(
    request: Request, collection_id: str, change: Callable[[Collection, Change], Classifier]
) -> Response:
    refuse_other_pages(request)
    found = state_of(request).trainings.collections.collection(collection_id)

    def work() -> Classifier:
        found.index()  # one that is not there gets no lock file
        with found.changing() as changing:
            return change(found, changing)

    serving = await asyncio.to_thread(work)
    return json_response({"collection": collection_id, "serving": version_report(serving)})


def _check_id(trainings: Trainings, collection_id: str) -> None:
    try:
        trainings.collections.collection(collection_id)
    except UnknownCollection:
        raise InvalidRequest(
            f"{collection_id[:100]!r} cannot be a collection's id: up to 64 letters, digits, dots, dashes "
            "and underscores can, beginning with a letter or digit"
        ) from None


def refuse_other_pages(request: Request) -> None:
    """Any page in a browser may send forms to this machine, and here they would change what is answered.

    A page of another site has no key.
    """
    origin = request.headers.get("origin")
    if origin is None or key_name(request.scope) is not None:
        return
    if urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "pages of other sites may change nothing here")
