"""Finds what is built in and what is plugged in: one mechanism for all kinds of entries.

A module takes part by having a module-level attribute of the agreed name holding a tuple of entries.
Three places are searched, in this order:

1. the modules of a package of ours (``sightline.capabilities``, ``sightline.models``,
   ``sightline.operations``, ``sightline.commands``);
2. entry points of installed distributions (groups are named like the packages), each naming a module;
3. ``*.py`` files in the folders ``capabilities``, ``models``, ``operations`` and ``commands`` of the
   plug-in folder. They import each other as ``sightline_plugins.capabilities.<file>`` and so on.

Names are unique across all three; a second claim to a name stops the start and says where both stand.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Protocol, TypeVar, runtime_checkable

from sightline.errors import ConfigurationError


@runtime_checkable
class Named(Protocol):
    """All the registry knows about an entry."""

    @property
    def name(self) -> str: ...


EntryT = TypeVar("EntryT", bound=Named)

# Files of the plug-in folder are modules below this name.
_PLUGINS = "sightline_plugins"


def discover(
    package: str, attribute: str, kind: type[EntryT], plugins_dir: Path | None = None
) -> MappingProxyType[str, EntryT]:
    """Collect every entry of ``kind``, by name, sorted by name.

    Raises:
        ConfigurationError: the plug-in folder is not there, a module does not import, its ``attribute`` does
            not hold a tuple of ``kind``, or two entries claim one name.
    """
    found: dict[str, tuple[EntryT, str]] = {}
    for module in _modules(package, plugins_dir):
        for entry in _entries(module, attribute, kind):
            name = getattr(entry, "name", None)
            if not isinstance(name, str) or not name:
                raise ConfigurationError(f"{module.__name__}.{attribute} holds an entry without a name")
            if name in found:
                raise ConfigurationError(
                    f"two {package.rpartition('.')[2]} claim the name {name!r}: "
                    f"{found[name][1]} and {module.__name__}"
                )
            found[name] = (entry, module.__name__)
    return MappingProxyType({name: found[name][0] for name in sorted(found)})


def _entries(module: ModuleType, attribute: str, kind: type[EntryT]) -> tuple[EntryT, ...]:
    entries = getattr(module, attribute, ())
    if not isinstance(entries, tuple) or not all(isinstance(entry, kind) for entry in entries):
        raise ConfigurationError(f"{module.__name__}.{attribute} must be a tuple of {kind.__name__}")
    return entries


def _modules(package: str, plugins_dir: Path | None) -> Iterator[ModuleType]:
    parent = importlib.import_module(package)
    for info in pkgutil.iter_modules(parent.__path__):
        yield importlib.import_module(f"{package}.{info.name}")
    for point in entry_points(group=package):
        yield _import_plugin(point.name, lambda point=point: point.load())
    if plugins_dir is not None:
        if not plugins_dir.is_dir():
            raise ConfigurationError(
                "the plug-in folder of the settings (SIGHTLINE_PLUGINS_DIR) is not there"
            )
        _enter(plugins_dir)
        folder = plugins_dir / package.rpartition(".")[2]
        for path in sorted(folder.glob("*.py")):
            yield _import_plugin(path.name, lambda path=path: _module_from_file(package, path))


class _Importer(Protocol):
    def __call__(self) -> ModuleType: ...


def _import_plugin(name: str, load: _Importer) -> ModuleType:
    """Import somebody else's module; whatever goes wrong in it is a configuration error that names it."""
    try:
        return load()
    except (Exception, SystemExit) as error:
        raise ConfigurationError(
            f"plug-in {name!r} does not import: {type(error).__name__}: {error}"
        ) from error


def _enter(plugins_dir: Path) -> None:
    """Make the plug-in folder a package, so that its files can import each other; forget another folder."""
    importlib.invalidate_caches()  # files may be newer than the last look at the folder
    place = [str(plugins_dir.resolve())]
    package = sys.modules.get(_PLUGINS)
    if package is not None and package.__path__ == place:
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == _PLUGINS]:
        del sys.modules[name]
    package = ModuleType(_PLUGINS)
    package.__path__ = place
    sys.modules[_PLUGINS] = package


def _module_from_file(package: str, path: Path) -> ModuleType:
    kind = package.rpartition(".")[2]
    name = f"{_PLUGINS}.{kind}.{path.stem}"
    if kind == "capabilities" and name in sys.modules:
        return sys.modules[name]  # executed again, it would define other classes than a model imported
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
