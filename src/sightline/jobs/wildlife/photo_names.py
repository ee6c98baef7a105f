"""Photos of a folder by the paths that other programs wrote for them."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path

from sightline.errors import InvalidRequest


class PhotoNames:
    """Finds photos by path: below the folder, absolute, or relative to one of ``bases``.

    A path may have Windows separators, ``..`` and links in it. Other letter case and another Unicode
    normalisation (macOS decomposes names, most programs compose them) count as the same name.
    """

    def __init__(self, folder: Path, names: Iterable[str], bases: Iterable[Path] = ()) -> None:
        """``names`` are the photos' paths below ``folder``, with forward slashes."""
        self._bases = [Path(os.path.normpath(each.absolute())) for each in (folder, *bases)]
        self._roots = dict.fromkeys([self._bases[0], folder.resolve()])
        self._names = set(names)

    def find(self, filepath: str) -> str | None:
        """Return the photo's name below the folder; None if no photo fits.

        Raises:
            InvalidRequest: several photos fit equally well.
        """
        if filepath in self._names:
            return filepath
        paths = list(dict.fromkeys(self._paths(filepath.strip())))
        candidates = list(dict.fromkeys(self._below(paths)))
        for candidate in candidates:
            if candidate in self._names:
                return candidate
        for index, key in ((self._composed, _composed), (self._folded, _folded)):
            for candidate in candidates:
                if found := index.get(key(candidate)):
                    return _only(filepath, found)
        for path in paths:
            if found := self._by_target.get(os.path.realpath(path)):
                return _only(filepath, found)
        return None

    def _paths(self, filepath: str) -> Iterator[str]:
        """Absolute paths that the text can mean, the likeliest first."""
        if not filepath or "\0" in filepath:
            return
        for text in (filepath, filepath.replace("\\", "/")):
            for base in self._bases:
                yield os.path.normpath(base / text)

    def _below(self, paths: Iterable[str]) -> Iterator[str]:
        """Names below the folder: by the paths' text, then with the links in their folders followed."""
        for path in paths:
            parent, name = os.path.split(path)
            for place in (Path(path), Path(_real(parent), name)):
                for root in self._roots:
                    if place.is_relative_to(root):
                        yield place.relative_to(root).as_posix()

    @cached_property
    def _composed(self) -> Mapping[str, list[str]]:
        return _indexed(self._names, _composed)

    @cached_property
    def _folded(self) -> Mapping[str, list[str]]:
        return _indexed(self._names, _folded)

    @cached_property
    def _by_target(self) -> Mapping[str, list[str]]:
        root = self._bases[0]
        return _indexed(self._names, lambda name: os.path.realpath(root / name))


def _indexed(names: Iterable[str], key: Callable[[str], str]) -> Mapping[str, list[str]]:
    index: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        index[key(name)].append(name)
    return dict(index)


def _only(filepath: str, found: list[str]) -> str:
    if len(found) > 1:
        raise InvalidRequest(
            f"{filepath} can be {', '.join(sorted(found)[:3])}; expected one of them exactly"
        )
    return found[0]


@cache
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    # Case folding can take a composed text apart again.
    return unicodedata.normalize("NFC", _composed(name).casefold())
