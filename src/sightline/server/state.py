"""What the routes of one application share."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI, Request

from sightline.jobs.collections.trainings import Trainings
from sightline.jobs.libraries.opened import OpenLibraries
from sightline.runtime.analyzer import Analyzer
from sightline.server.csrf import CsrfTokens
from sightline.server.lookout import Lookout
from sightline.server.metrics import Metrics


@dataclass(slots=True)
class AppState:
    """The objects behind the routes. ``draining`` is true once the server has been told to stop."""

    analyzer: Analyzer
    metrics: Metrics
    trainings: Trainings
    lookout: Lookout
    csrf: CsrfTokens
    libraries: OpenLibraries
    draining: bool = False

    def attach(self, app: FastAPI) -> None:
        """Let the routes of ``app`` find it."""
        app.state.sightline = self


def state_of(request: Request) -> AppState:
    """Return the state of the application that answers ``request``."""
    return state_of_app(request.app)


def state_of_app(app: FastAPI) -> AppState:
    """Return the state of ``app``."""
    state: AppState = app.state.sightline
    return state


def analyzer_of(request: Request) -> Analyzer:
    """Return the analyzer that answers ``request``."""
    return state_of(request).analyzer
