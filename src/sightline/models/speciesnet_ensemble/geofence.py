"""The taxa that do not live in a country, by the rules of a release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from sightline.errors import ModelBroken
from sightline.taxa import Taxon

# Country (alpha-3) → divisions of it (two letters); none listed means all of the country.
Areas = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Rule:
    """Where one taxon is, and where it is not. Without ``allow``, everywhere."""

    allow: Areas | None = None
    block: Areas | None = None


_FILE = TypeAdapter(dict[str, Rule])


class Geofence:
    """Rules by a taxon's key. A taxon without one lives everywhere."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = rules

    @classmethod
    def read(cls, path: Path) -> Geofence:
        """From JSON: rules by key, such as ``{"allow": {"KEN": []}, "block": {"USA": ["AK"]}}``.

        Raises:
            ModelBroken: it is not such a file.
        """
        try:
            return cls(_FILE.validate_json(path.read_bytes()))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = " → ".join(str(part)[:100] for part in first["loc"])
            raise ModelBroken(f"{path.name} is no geofence: {where or 'all of it'}: {first['msg']}") from None
        except OSError as error:
            raise ModelBroken(f"{path.name} cannot be read: {type(error).__name__}") from None

    def excludes(self, label: str, country: str | None, admin1_region: str | None) -> bool:
        """Whether the taxon of ``label`` does not live there. Without a country nothing is excluded.

        ``country`` is ISO 3166-1 alpha-3, ``admin1_region`` two letters. Where a rule tells divisions of a
        country apart and ``admin1_region`` is not known, the taxon gets the benefit of the doubt.
        Raises ValueError when ``label`` has not seven parts.
        """
        if not country:
            return False
        rule = self._rules.get(Taxon.parse(label).key)
        if rule is None:
            return False
        if rule.allow:
            if country not in rule.allow:
                return True
            if admin1_region and rule.allow[country] and admin1_region not in rule.allow[country]:
                return True
        if not rule.block or country not in rule.block:
            return False
        return not rule.block[country] or admin1_region in rule.block[country]
