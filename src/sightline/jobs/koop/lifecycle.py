"""The lifecycle of an item: state and event give the next state and the effects.

Nothing here reads or writes. A run performs the effects of a :class:`Transition` and saves its item.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum, auto

# The ``error`` of a kept item begins like this if it could not be classified again.
NOT_JUDGED = "could not be judged again: "


class ItemKind(StrEnum):
    ILLUSTRATION = "illustratie"
    ATTACHMENT = "exb"
    PDF = "pdf"


class ItemState(StrEnum):
    """``SKIPPED`` was not fetched on purpose. ``FETCHED`` waits for a verdict, ``CLASSIFIED`` has one and no
    rule was applied to it. ``GONE``: the archive has no such file (any more)."""

    PENDING = "pending"
    SKIPPED = "skipped"
    FETCHED = "fetched"
    CLASSIFIED = "classified"
    KEPT = "kept"
    REJECTED = "rejected"
    FAILED = "failed"
    GONE = "gone"


class Keep(StrEnum):
    """Which files stay: those with a picture that the rules say to download, all, or none."""

    WOULD_DOWNLOAD = "would-download"
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Item:
    """One file. ``source_url`` is where its bytes came from, ``file`` where they lie, if they are here.

    ``model`` is the fingerprint of the model whose verdict decided.
    """

    url: str
    kind: ItemKind
    state: ItemState = ItemState.PENDING
    source_url: str | None = None
    http: int | None = None
    attempts: int = 0
    sha256: str | None = None
    num_bytes: int | None = None
    mime: str | None = None
    etag: str | None = None
    file: str | None = None
    model: str | None = None
    error: str | None = None


class Effect(StrEnum):
    """Work on files or stored results that a transition requires."""

    STORE = auto()  # store the file, or the pages of it that are wanted
    RELEASE = auto()  # remove the file and its pages, except those that other items need
    DISCARD = auto()  # remove the damaged file
    FORGET = auto()  # delete the stored failure, so that the file is classified again
    PRESERVE = auto()  # keep the previous version of the item until this one is decided


@dataclass(frozen=True, slots=True)
class Transition:
    """The item after an event. Equal to the item before if the event does not concern its state."""

    item: Item
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """The options of a run that decide what stays."""

    keep: Keep
    dry_run: bool

    def spares(self, item: Item) -> bool:
        """Return whether a dry run leaves an item as an earlier run decided."""
        return self.dry_run and item.state in (ItemState.KEPT, ItemState.REJECTED)


# -- events ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Excluded:
    """The options of this run exclude the item."""

    reason: str


@dataclass(frozen=True, slots=True)
class Included:
    """The options of this run include the item."""


@dataclass(frozen=True, slots=True)
class Retried:
    """An item that failed or was missing is tried as if for the first time."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Bytes arrived. ``replaces``: they differ from those that the item had."""

    source_url: str
    sha256: str
    num_bytes: int
    mime: str
    etag: str | None
    file: str
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The archive sent the bytes that the item had."""

    source_url: str
    etag: str | None


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """No bytes arrived. ``is_missing``: the archive has no such file."""

    reason: str
    http: int | None
    is_missing: bool


@dataclass(frozen=True, slots=True)
class Classified:
    """A classifier's result, or None in ``model`` if no classifier is used and everything stays.

    Attributes:
        error: reason why there is no result.
        is_no_picture: the error is that the file has no picture that can be classified.
        note: what was left out.
        was_wanted: the result by which the item was decided before says to keep it.
    """

    model: str | None = None
    would_download: bool = True
    error: str | None = None
    is_no_picture: bool = False
    note: str | None = None
    was_wanted: bool = False
    is_here: bool = True
    has_files: bool = False


@dataclass(frozen=True, slots=True)
class ClassificationFailed:
    """The item could not be classified.

    Attributes:
        model: the classifier that failed, if it was asked.
        is_here: the item's bytes are on this machine.
        has_files: files of the same content stay.
        is_damaged: the bytes are not those that were fetched.
    """

    reason: str
    is_here: bool
    has_files: bool
    model: str | None = None
    is_damaged: bool = False


Event = Excluded | Included | Retried | Fetched | Confirmed | FetchFailed | Classified | ClassificationFailed

UNAVAILABLE = frozenset({ItemState.FAILED, ItemState.GONE})


def transition(item: Item, event: Event, policy: Policy) -> Transition:
    """Return the item after an event, and the effects that the run has to perform."""
    match event:
        case Excluded():
            return _excluded(item, event)
        case Included():
            is_unfetched = item.state is ItemState.SKIPPED and item.sha256 is None
            return Transition(replace(item, state=ItemState.PENDING, error=None) if is_unfetched else item)
        case Retried():
            if item.state not in UNAVAILABLE:
                return Transition(item)
            forgotten = () if item.sha256 is None else (Effect.FORGET,)
            return Transition(replace(item, state=ItemState.PENDING, error=None), forgotten)
        case Fetched() | Confirmed() | FetchFailed():
            return _fetched(item, event)
        case Classified():
            return _classified(item, event, policy)
        case ClassificationFailed():
            return _failed(item, event, policy)


def decision(result: Classified, policy: Policy) -> ItemState:
    """Return the state that a result leads to, whatever the item was before."""
    if result.model is None:
        return ItemState.KEPT
    keeps_nothing = policy.dry_run or policy.keep is Keep.NONE
    keeps_all = policy.keep is Keep.ALL and not keeps_nothing
    if result.error is not None:
        if not result.is_no_picture:
            return ItemState.FAILED
        return ItemState.KEPT if keeps_all else ItemState.SKIPPED
    if keeps_nothing:
        return ItemState.CLASSIFIED
    return ItemState.KEPT if keeps_all or result.would_download else ItemState.REJECTED


def _excluded(item: Item, event: Excluded) -> Transition:
    """A decision of an earlier run stays."""
    match item.state:
        case ItemState.PENDING | ItemState.FAILED:
            return Transition(replace(item, state=ItemState.SKIPPED, error=event.reason))
        case ItemState.FETCHED:
            return _ended(item, ItemState.SKIPPED, event.reason)
        case ItemState.KEPT if (item.error or "").startswith(NOT_JUDGED):
            return Transition(replace(item, error=None))
        case _:
            return Transition(item)


def _fetched(item: Item, event: Fetched | Confirmed | FetchFailed) -> Transition:
    before, item = item, replace(item, attempts=item.attempts + 1)
    match event:
        case FetchFailed():
            state = ItemState.GONE if event.is_missing else ItemState.FAILED
            return Transition(replace(item, state=state, http=event.http, error=event.reason))
        case Confirmed():
            return Transition(replace(item, source_url=event.source_url, etag=event.etag))
        case Fetched():
            item = replace(
                item, state=ItemState.FETCHED, source_url=event.source_url, http=200, sha256=event.sha256,
                num_bytes=event.num_bytes, mime=event.mime, etag=event.etag, file=event.file, error=None,
                model=None if event.replaces else item.model,
            )  # fmt: skip
            preserves = event.replaces and before.file is not None
            return Transition(item, (Effect.PRESERVE,) if preserves else ())


def _classified(item: Item, result: Classified, policy: Policy) -> Transition:
    if policy.spares(item) or item.state in UNAVAILABLE:
        return Transition(item)
    state = decision(result, policy)
    if result.error is not None and (state is ItemState.FAILED or _lost_its_picture(item, result)):
        failure = ClassificationFailed(result.error, result.is_here, result.has_files, result.model)
        return _failed(item, failure, policy)
    if result.model is not None:
        item = replace(item, model=result.model, error=result.error or result.note)
    if state is ItemState.KEPT:
        return Transition(replace(item, state=state), (Effect.STORE,))
    return _ended(item, state, item.error)


def _lost_its_picture(item: Item, result: Classified) -> bool:
    """Return whether no picture is found in what was kept for one, as where a decoder is missing."""
    return item.state is ItemState.KEPT and item.model is not None and result.was_wanted


def _failed(item: Item, event: ClassificationFailed, policy: Policy) -> Transition:
    """A kept item stays by its earlier result. Others wait for a retry, and their kept pages with them."""
    if policy.spares(item) or item.state in UNAVAILABLE:
        return Transition(item)
    if item.state is ItemState.KEPT and event.is_here and not event.is_damaged:
        return Transition(replace(item, error=f"{NOT_JUDGED}{event.reason}"))
    if item.model is None or not event.has_files:
        item = replace(item, model=event.model or item.model)
    ended = _ended(item, ItemState.FAILED, event.reason)
    return Transition(ended.item, (Effect.DISCARD, *ended.effects)) if event.is_damaged else ended


def _ended(item: Item, state: ItemState, error: str | None) -> Transition:
    releases = () if item.sha256 is None else (Effect.RELEASE,)
    return Transition(replace(item, state=state, error=error), releases)
