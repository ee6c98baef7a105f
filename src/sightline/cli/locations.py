"""How ``sightline locate`` writes what it found: as tables and as maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from sightline.cli.console import printable, stderr, stdout, table
from sightline.jobs.worldmap import Circle, Outline, draw_world_map, world_land
from sightline.runtime.report import warnings_of
from sightline.types import Coordinate

if TYPE_CHECKING:
    from sightline.jobs.looking import Seen
    from sightline.runtime.analyzer import Analyzer


class LocationTables:
    """A table per photo, one row per candidate, and how far they can be trusted."""

    def show(self, seen: Seen) -> None:
        console = stdout()
        title = Text(printable(seen.source or ""), style="bold")
        if seen.error is not None:
            title.append(f"\n  {printable(str(seen.error))}\n", style="red")
        console.print(title, soft_wrap=True)
        for outcome in seen.outcomes:
            if outcome.error is not None:
                console.print(Text(f"  {printable(str(outcome.error))}\n", style="red"), soft_wrap=True)
            for warning in warnings_of(outcome):
                console.print(Text(f"  {printable(warning)}", style="yellow"), soft_wrap=True)
        for found in _found(seen):
            rows = table(("#", "Latitude", "Longitude", "Probability", "Place"), numbers=_NUMBERS)
            for rank, candidate in enumerate(found["candidates"], start=1):
                rows.add_row(
                    str(rank),
                    f"{candidate['lat']:.4f}",
                    f"{candidate['lon']:.4f}",
                    f"{100 * candidate['probability']:.3g} %",
                    Text(printable(candidate["place"] or "–")),
                )
            console.print(rows, end="")
            trust = ", ".join(f"{share} of the probability within {far}" for share, far in _radii(found))
            console.print(Text(f"Around candidate 1: {trust}\n", style="dim"))


_NUMBERS = ("#", "Latitude", "Longitude", "Probability")


@dataclass(frozen=True)
class MapFiles:
    """A map per photo. Of several photos, the file's name gets a number."""

    analyzer: Analyzer
    land: list[Outline]
    paths: Iterator[Path]

    @classmethod
    async def open(cls, analyzer: Analyzer, path: Path, count: int) -> MapFiles:
        """Make sure of the outlines and the folder before any photo is looked at.

        Raises:
            ModelUnavailable, WeightsError: see ``jobs.worldmap.world_land``.
        """
        land = await analyzer.engine.work(world_land, analyzer)
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = path.suffix or ".png"
        numbered = (path.with_name(f"{path.stem}-{number}{suffix}") for number in range(1, count + 1))
        return cls(analyzer, land, numbered if count > 1 else iter([path]))

    async def write(self, seen: Seen) -> None:
        """Draw a photo's candidates. A photo without an answer uses up its number and has no map."""
        path = next(self.paths)
        for found in _found(seen):
            path.write_bytes(await self.analyzer.engine.work(self._draw, found))
            stderr().print(f"wrote {printable(str(path))}", style="dim", markup=False, soft_wrap=True)

    def _draw(self, found: dict[str, Any]) -> bytes:
        candidates = [Coordinate(each["lat"], each["lon"]) for each in found["candidates"]]
        uncertainty = found["uncertainty"]
        radii = (uncertainty["radius_50_km"], uncertainty["radius_90_km"])
        circles = [
            Circle(candidates[0], radius_km, f"{share} within {far}")
            for radius_km, (share, far) in zip(radii, _radii(found), strict=True)
        ]
        return draw_world_map(self.land, candidates, circles)


def _found(seen: Seen) -> Iterator[dict[str, Any]]:
    for outcome in seen.outcomes:
        if outcome.answer is not None and outcome.answer.data is not None:
            yield outcome.answer.data.model_dump(mode="json")


def _radii(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for percent in (50, 90):
        radius_km = found["uncertainty"][f"radius_{percent}_km"]
        yield f"{percent} %", f"{radius_km:,.0f} km" if radius_km >= 10 else f"{radius_km:.1f} km"
