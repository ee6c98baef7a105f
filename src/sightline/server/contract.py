"""An HTTP contract: the routes of one service and the rules of the middlewares for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter

from sightline.operations import Operation
from sightline.server.middleware.api_key import ScopeRule
from sightline.server.problems import WriteError, write_detail
from sightline.settings import Settings

Operations = Mapping[str, Operation[Any, Any]]
# Rates such as "10/minute", by a path and all below it, or by several such paths together.
Rates = Mapping[str | tuple[str, ...], Collection[str]]


@dataclass(frozen=True, slots=True)
class Origins:
    """Origins whose pages may call a contract. ``setting`` names the variable that errors tell to correct."""

    allowed: Collection[str]
    setting: str
    may_be_any: bool = False


def _no_limits(settings: Settings) -> dict[str, int]:
    return {}


def _no_rates(settings: Settings) -> Rates:
    return {}


def _no_origins(settings: Settings) -> Origins | None:
    return None


def _no_routers(operations: Operations) -> tuple[APIRouter, ...]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The routes of one service, and the rules for its paths.

    ``prefixes`` are its paths, each with all below it. ``pages_paths`` are single paths that pages may call
    too. ``scope_rules`` name the paths for which a key needs another scope than ``analyze``. ``probes`` need
    no key and no trusted host name, and count against no limit. ``operation_routers`` returns the routers
    that depend on the operations there are.
    """

    name: str
    routers: tuple[APIRouter, ...] = ()
    operation_routers: Callable[[Operations], tuple[APIRouter, ...]] = _no_routers
    prefixes: tuple[str, ...] = ()
    pages_paths: tuple[str, ...] = ()
    probes: frozenset[str] = frozenset()
    needs_key: bool = True
    scope_rules: tuple[ScopeRule, ...] = ()
    max_body_bytes: Callable[[Settings], Mapping[str, int]] = _no_limits
    rates: Callable[[Settings], Rates] = _no_rates
    origins: Callable[[Settings], Origins | None] = _no_origins
    write_error: WriteError = write_detail
