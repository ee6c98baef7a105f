"""What commands say about a folder of images before they open the first."""

from __future__ import annotations

from pathlib import Path

from sightline.cli.console import printable, stderr

_MOST_SHOWN = 5


def look_over(folder: Path, *, recursive: bool) -> None:
    """Warn about linked folders, which are skipped.

    Raises:
        InvalidRequest: the folder has no images.
        OSError: it cannot be read.
    """
    from sightline.jobs.images import survey

    _tell_of_links(survey(folder, recursive=recursive).links)


def unfolded(sources: list[str]) -> list[str]:
    """The sources, with the images of each folder and of those below in its place.

    Raises:
        InvalidRequest: a folder has no images.
        OSError: it cannot be read.
    """
    from sightline.jobs.images import listings

    found = []
    for source in sources:
        if Path(source).is_dir():
            look_over(Path(source), recursive=True)
            below = listings(Path(source), recursive=True)
            found += [str(listing.folder / name) for listing in below for name in listing.names]
        else:
            found.append(source)
    return found


def _tell_of_links(links: list[Path]) -> None:
    """One warning about all links to folders that are not followed."""
    if links:
        more = f" and {len(links) - _MOST_SHOWN:,} more" if len(links) > _MOST_SHOWN else ""
        shown = ", ".join(map(str, links[:_MOST_SHOWN]))
        warning = printable(f"warning: linked folders are skipped: {shown}{more}")
        stderr().print(warning, style="yellow", markup=False, soft_wrap=True)
