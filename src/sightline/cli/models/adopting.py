"""``sightline models adopt``: files of the user's own as a model's."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from sightline.cli.console import printable, stdout
from sightline.cli.models.choosing import chosen, open_store, wanted
from sightline.cli.options import ModelsDir, Offline, settings_from
from sightline.errors import InvalidRequest, ModelBroken

if TYPE_CHECKING:
    from sightline.models import ModelDefinition
    from sightline.settings import Settings
    from sightline.weights.store import Wanted


def adopt(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="The model.")],
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE=PATH", show_default=False, help="The model's name of a file, and where yours lies."
        ),
    ],
    models_dir: ModelsDir = None,
    offline: Offline = False,
) -> None:
    """Take files of yours for a model, such as an ONNX export made elsewhere. They are copied.

    What you do not give comes from the present installation, or is fetched. The model is loaded once to see
    that the files fit, and answers carry the provenance "imported". Give only files that you trust.

    [bold]Examples[/]

      [cyan]sightline models adopt megadetector-v5a detector.onnx=md_v5a_1280x1280.onnx[/]
      [cyan]sightline models adopt speciesnet-v4.0.2a classifier.onnx=s.onnx labels.txt=labels.txt[/]
    """
    from sightline.cli.models.bars import Bars
    from sightline.types import Provenance

    settings = settings_from(models_dir=models_dir, offline=offline)
    (definition,) = chosen(settings, [name], everything=False)
    want = wanted(definition)
    given = _given(want, files)
    store = open_store(settings)
    before = store.installed(want)
    together = {**(before.files if before else {}), **given}
    complete = all(artifact.name in together for artifact in want.kept)
    if complete:
        _require_loads(settings, definition, together, "nothing was changed")
    root = settings.models_dir.expanduser()
    root.mkdir(parents=True, exist_ok=True)
    # Beside the models, so that the copies are renamed into place.
    with TemporaryDirectory(dir=root, prefix=".adopt-") as folder:
        for artifact, path in given.items():
            shutil.copyfile(path, Path(folder) / artifact)
        names = ", ".join(printable(path.name).replace("\n", " ") for path in given.values())
        with Bars(want) as bars:
            installed = store.adopt(
                want, Path(folder), Provenance.IMPORTED, f"files of the user's: {names}"[:2000], bars.of(want)
            )
    if not complete:
        _require_loads(settings, definition, installed.files, "it is installed all the same")
    stdout().print(Text(f"{installed.model} is here: imported, fingerprint {installed.fingerprint}"))


def _given(want: Wanted, files: Sequence[str]) -> dict[str, Path]:
    """Paths by artifact name.

    Raises:
        InvalidRequest: the model has no such file, one is given twice, or there is nothing at the path.
    """
    known = [artifact.name for artifact in want.artifacts]
    if not known:
        raise InvalidRequest(f"{want.model} needs no files")
    given: dict[str, Path] = {}
    for text in files:
        name, equals, path = text.partition("=")
        if not equals or name not in known:
            raise InvalidRequest(f"{text!r} is not FILE=PATH with one of {want.model}'s: {', '.join(known)}")
        if name in given:
            raise InvalidRequest(f"{name} is given twice")
        given[name] = Path(path).expanduser()
        if not given[name].is_file():
            raise InvalidRequest(f"there is no file {path!r} to take for {name}")
    return given


def _require_loads(
    settings: Settings, definition: ModelDefinition, files: Mapping[str, Path], consequence: str
) -> None:
    """Raises ModelBroken, saying why and what came of it."""
    from sightline.runtime.graphs import Graphs

    if definition.load is None:
        return
    try:
        definition.load(files, Graphs(settings))
    except ModelBroken as error:
        raise ModelBroken(
            f"{definition.name} does not load with these files: {error}; {consequence}"
        ) from error
