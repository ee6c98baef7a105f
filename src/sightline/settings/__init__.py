"""Every setting, read once from the environment and passed in. Nothing else reads the environment.

Names are ``SIGHTLINE_<FIELD>``; where a replaced service had a variable of its own for the same thing,
that name is accepted too. A ``.env`` file in the working directory is read when it is there.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from sightline.settings.computing import ComputingSettings, ModelSettings, ProviderSettings
from sightline.settings.fields import (
    AUTO,
    MIB,
    DetectorPrecision,
    GraphRuntime,
    ImageEmbedModels,
    Precision,
)
from sightline.settings.images import FetchSettings, ImageSettings
from sightline.settings.koop import KoopSettings
from sightline.settings.serving import ReplacedServicesSettings, ServingSettings

__all__ = [
    "AUTO",
    "MIB",
    "Described",
    "DetectorPrecision",
    "GraphRuntime",
    "ImageEmbedModels",
    "Precision",
    "Settings",
    "described",
    "unused_variables",
]


class Settings(
    ServingSettings,
    ReplacedServicesSettings,
    ModelSettings,
    ProviderSettings,
    ComputingSettings,
    ImageSettings,
    FetchSettings,
    KoopSettings,
):
    """The whole configuration of one process. Figures are the table of docs/limits.md unless noted."""

    model_config = SettingsConfigDict(
        env_prefix="SIGHTLINE_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )


# Defaults below the home folder, as anybody reads them.
_IN_HOME: Mapping[str, str] = {
    "models_dir": "~/.cache/sightline",
    "libraries_dir": "~/.local/share/sightline/libraries",
    "keys_file": "~/.config/sightline/keys.json",
}


@dataclass(frozen=True, slots=True)
class Described:
    """A setting as people read it: ``value`` and ``default`` as they would be written in the environment."""

    variables: tuple[str, ...]
    value: str
    default: str
    meaning: str


def described(settings: Settings) -> list[Described]:
    """Every setting in the order of the class. Secrets are "set" or "none"."""
    return [
        Described(
            variables=_variables(name, field.validation_alias),
            value=_written(getattr(settings, name)),
            default=_IN_HOME.get(name) or _written(field.get_default()),
            meaning=field.description or "",
        )
        for name, field in _fields()
    ]


def _fields() -> Iterator[tuple[str, FieldInfo]]:
    """Yield the fields group by group, in the order of the class's bases."""
    for group in Settings.__bases__:
        assert issubclass(group, BaseSettings)
        yield from ((name, Settings.model_fields[name]) for name in group.model_fields)


# Variables of replaced services that change nothing here, and what to do instead.
REPLACED_VARIABLES: Mapping[str, str] = {
    "FLASK_ENV": "there is no development mode; SIGHTLINE_LOG_LEVEL=debug logs more",
    "MODEL_NAME_CLIP": "a request chooses the model: parameter 'model' of embed_clip",
}
# Variables that only the command line reads.
CLIENT_VARIABLES = frozenset({"SIGHTLINE_API_KEY"})


def unused_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """What is wrong with variables that look like settings and are not used, a sentence each.

    ``environment``: by default that of the process and the ``.env`` file, which Settings reads too.
    """
    if environment is None:
        environment = {**_env_file(), **os.environ}
    known = CLIENT_VARIABLES | {
        variable for name, field in _fields() for variable in _variables(name, field.validation_alias)
    }
    found = []
    for name in sorted(environment):
        if name.startswith("SIGHTLINE_") and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else "; `sightline settings` lists them"
            found.append(f"{name} is not a setting and changes nothing{hint}")
        elif name in REPLACED_VARIABLES:
            found.append(f"{name} changes nothing here: {REPLACED_VARIABLES[name]}")
        elif name in ("SIGHTLINE_API_KEYS", "API_KEY") and not environment[name].strip(" ,"):
            found.append(f"{name} is empty: no key is asked for")
    return found


def _env_file() -> dict[str, str]:
    path = Path(str(Settings.model_config.get("env_file")))
    return (
        {name: value or "" for name, value in dotenv_values(path, encoding="utf-8").items()}
        if path.is_file()
        else {}
    )


def _variables(name: str, alias: Any) -> tuple[str, ...]:
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (f"SIGHTLINE_{name.upper()}",)


def _written(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, SecretStr) or (isinstance(value, tuple) and isinstance(value[0], SecretStr)):
        return "set"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
