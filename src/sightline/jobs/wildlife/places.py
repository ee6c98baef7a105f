"""Where photos were taken: one place for all, or a place of its own for each that a file names."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePath
from typing import Any

from sightline.errors import InputError, InvalidRequest


@dataclass(frozen=True, slots=True)
class Place:
    """As ``identify_species`` wants it: ISO 3166-1 alpha-3, two letters of a state, degrees."""

    country: str | None = None
    admin1_region: str | None = None
    latitude: float | None = None
    longitude: float | None = None

    @property
    def has_coordinates(self) -> bool:
        return self.latitude is not None or self.longitude is not None

    def known(self) -> dict[str, str | float]:
        """What is known of it, by the names that parameters and files have for it."""
        values = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: value for name, value in values if value is not None}


@dataclass(slots=True)
class Places:
    """The place of each photo, by its name below the folder. One that has a place of its own has nothing of
    ``usual``."""

    usual: Place = Place()
    own: Mapping[str, Place] = field(default_factory=dict)
    _unmet: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self._unmet = set(self.own)

    def of(self, photo: str) -> Place:
        self._unmet.discard(photo)
        return self.own.get(photo, self.usual)

    @property
    def unmet(self) -> list[str]:
        """Photos that have a place and were never asked about."""
        return sorted(self._unmet)

    @property
    def has_coordinates(self) -> bool:
        return self.usual.has_coordinates or any(place.has_coordinates for place in self.own.values())


def read_places(path: Path, folder: Path, check: Callable[[Place], object]) -> dict[str, Place]:
    """The places in a file: ``{"instances": [{"filepath": …, "country": …}]}`` as speciesnet reads them, or
    CSV with the same names in its first line.

    File paths are those below ``folder``, or absolute. Instances that say no place are left out. ``check`` is
    called with each different place and raises an InputError if it makes no sense.

    Raises:
        InvalidRequest: the file is something else; the message says which instance.
        OSError: it cannot be read.
    """
    places: dict[str, Place] = {}
    checked: set[Place] = set()
    root = folder.absolute()
    for number, instance in enumerate(_instances(path), start=1):
        where = f"{path.name}: instance {number}"
        if not isinstance(instance, Mapping) or not isinstance(instance.get("filepath"), str):
            raise InvalidRequest(f"{where} must have a 'filepath'")
        try:
            place = _place(instance)
            if place not in checked:
                check(place)
                checked.add(place)
        except (ValueError, InputError) as error:
            raise InvalidRequest(f"{where}, {instance['filepath']}: {error}") from None
        if place != Place():
            places[_below(root, instance["filepath"])] = place
    return places


def _instances(path: Path) -> Iterator[Any]:
    try:
        if path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from csv.DictReader(file, strict=True)
            return
        instances = json.loads(path.read_text("utf-8-sig"))["instances"]
    except (ValueError, LookupError, TypeError, RecursionError, csv.Error) as error:
        raise InvalidRequest(
            f'{path.name} must be JSON, {{"instances": [{{"filepath": "a/b.jpg", "country": "KEN"}}]}}, or a '
            f"file.csv with such columns: {type(error).__name__}: {error}"
        ) from None
    if not isinstance(instances, list):
        raise InvalidRequest(f"{path.name}: 'instances' must be a list")
    yield from instances


def _place(instance: Mapping[str, Any]) -> Place:
    """Raises ValueError: a value is of the wrong kind. Empty text, as in CSV, is no value."""
    given: dict[str, Any] = {each.name: instance.get(each.name) for each in fields(Place)}
    given = {name: value for name, value in given.items() if value not in (None, "")}
    for name in ("latitude", "longitude"):
        try:
            given |= {name: float(given[name])} if name in given else {}
        except (TypeError, ValueError):
            raise ValueError(f"{name} must be a number of degrees") from None
    for name in ("country", "admin1_region"):
        if not isinstance(given.get(name, ""), str):
            raise ValueError(f"{name} must be text")
    return Place(**given)


def _below(root: Path, filepath: str) -> str:
    path = PurePath(filepath)
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
