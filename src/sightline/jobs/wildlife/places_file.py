"""Places of single photos, in a file: JSON as speciesnet reads it, or CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sightline.errors import InputError, InvalidRequest
from sightline.jobs.wildlife.photo_names import PhotoNames
from sightline.jobs.wildlife.places import Place

# Other names that files in use have for the same columns, in small letters.
_ALIASES = {
    **dict.fromkeys(("file", "filename", "file_name", "file_path", "path"), "filepath"),
    "country_code": "country",
    "lat": "latitude",
    **dict.fromkeys(("lon", "lng", "long"), "longitude"),
}
_COLUMNS = ("filepath", *(each.name for each in fields(Place)))
_DELIMITERS = ",;\t"


@dataclass(slots=True)
class PlacesFile:
    """The places of photos, by name below the folder, and what in the file cannot be used.

    A photo that two rows give different places is in ``places`` without any: neither is used for it.
    """

    places: dict[str, Place] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _instance_of: dict[str, int] = field(default_factory=dict)

    def add(self, number: int, filepath: str, place: Place, photos: PhotoNames) -> None:
        """Note the place that instance ``number`` gives."""
        try:
            photo = photos.find(filepath)
        except InvalidRequest as error:
            self.problems.append(f"instance {number}: {error}")
            return
        if photo is None:
            self.problems.append(f"instance {number}: no such photo in the folder: {filepath}")
        elif self.places.setdefault(photo, place) != place:
            first = self._instance_of[photo]
            self.problems.append(f"instances {first} and {number}: two places for one photo: {filepath}")
            self.places[photo] = Place()
        else:
            self._instance_of.setdefault(photo, number)


def read_places(path: Path, photos: PhotoNames, check: Callable[[Place], object]) -> PlacesFile:
    """Return the places in a file: ``{"instances": [{"filepath": …, "country": …}]}``, or CSV with the same
    names in its first line.

    Instances that say no place are left out. ``check`` is called with each different place and raises an
    InputError if it makes no sense.

    Raises:
        InvalidRequest: the file is something else, or a value is wrong; the message says in which instance.
        OSError: it cannot be read.
    """
    found = PlacesFile()
    columns = _Columns()
    checked: set[Place] = set()
    for number, instance in enumerate(_instances(path), start=1):
        where = f"{path.name}: instance {number}"
        values = columns.named(instance, where)
        filepath = values.get("filepath")
        if not isinstance(filepath, str) or not filepath:
            raise InvalidRequest(f"{where} must have a 'filepath'")
        try:
            place = _place(values)
            if place not in checked:
                check(place)
                checked.add(place)
        except (ValueError, InputError) as error:
            raise InvalidRequest(f"{where}, {filepath}: {error}") from None
        if place != Place():
            found.add(number, filepath, place, photos)
    found.problems[:0] = columns.problems
    return found


@dataclass(slots=True)
class _Columns:
    """Fields by the names that they have here. Each unknown name is a problem once."""

    problems: list[str] = field(default_factory=list)
    _known: dict[str, str | None] = field(default_factory=dict)

    def named(self, instance: Any, where: str) -> Mapping[str, Any]:
        if not isinstance(instance, Mapping):
            raise InvalidRequest(f"{where} must have a 'filepath'")
        values: dict[str, Any] = {}
        for written, value in instance.items():
            column = self._column(written)
            if column is None or value in (None, ""):
                continue
            if values.setdefault(column, value) != value:
                raise InvalidRequest(f"{where} has two different values for {column}")
        return values

    def _column(self, written: str | None) -> str | None:
        if written is None:  # how csv calls cells beyond the last column
            written = "(without a name)"
        if written not in self._known:
            name = written.strip().lower().replace(" ", "_").replace("-", "_")
            name = _ALIASES.get(name, name)
            self._known[written] = name if name in _COLUMNS else None
            if name not in _COLUMNS:
                self.problems.append(f"unknown column: {written}; expected {', '.join(_COLUMNS)}")
        return self._known[written]


def _instances(path: Path) -> Iterator[Any]:
    try:
        if path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                first = file.readline()
                file.seek(0)
                # Spreadsheets of countries with decimal commas write semicolons.
                delimiter = max(_DELIMITERS, key=first.count)
                yield from csv.DictReader(file, strict=True, delimiter=delimiter)
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


def _place(values: Mapping[str, Any]) -> Place:
    """Raises ValueError: a value is of the wrong kind."""
    given = {name: value for name, value in values.items() if name != "filepath"}
    for name in ("latitude", "longitude"):
        try:
            given |= {name: float(given[name])} if name in given else {}
        except (TypeError, ValueError):
            raise ValueError(f"{name} must be a number of degrees") from None
    for name in ("country", "admin1_region"):
        if not isinstance(given.get(name, ""), str):
            raise ValueError(f"{name} must be text")
    return Place(**given)
