"""Every order of events leaves an item, its bytes and its decision in agreement."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sightline.jobs.koop.lifecycle import (
    NOT_JUDGED,
    UNAVAILABLE,
    ClassificationFailed,
    Classified,
    Confirmed,
    Effect,
    Event,
    Excluded,
    Fetched,
    FetchFailed,
    Included,
    Item,
    ItemKind,
    ItemState,
    Keep,
    Policy,
    Retried,
    decision,
    transition,
)

DIGESTS = st.sampled_from(["a" * 64, "b" * 64])
MODELS = st.sampled_from(["one", "two"])
DECIDED = {ItemState.CLASSIFIED, ItemState.KEPT, ItemState.REJECTED}


class Lifecycle(RuleBasedStateMachine):
    """One item, the files of a disk, and runs with changing options."""

    def __init__(self) -> None:
        super().__init__()
        self.item = Item("https://reader.example/a.png", ItemKind.ILLUSTRATION)
        self.policy = Policy(Keep.WOULD_DOWNLOAD, dry_run=False)
        self.disk: set[str] = set()
        self.stored: set[str] = set()  # digests of which files stay
        self.preserved: set[str] = set()
        self.failures: set[str] = set()
        self.was_wanted = False

    def send(self, event: Event) -> None:
        before = self.item
        change = transition(before, event, self.policy)
        assert transition(before, event, self.policy) == change, "a transition depends on its arguments only"
        assert change.item.attempts >= before.attempts
        assert (change.item.url, change.item.kind) == (before.url, before.kind)
        if change.item == before:
            assert set(change.effects) <= {Effect.STORE, Effect.DISCARD, Effect.RELEASE}
        self.item = change.item
        for effect in change.effects:
            self.perform(effect, before)

    def perform(self, effect: Effect, before: Item) -> None:
        item = self.item
        assert item.sha256 is not None, "every effect is on known content"
        match effect:
            case Effect.STORE:
                assert item.state is ItemState.KEPT
                self.stored.add(item.sha256)
            case Effect.RELEASE:
                assert item.state not in (ItemState.KEPT, ItemState.FETCHED, ItemState.PENDING)
                self.disk.discard(item.sha256)
                if item.state is not ItemState.FAILED:  # pages that are here wait for a retry
                    self.stored.discard(item.sha256)
                self.item = replace(item, file=None)
            case Effect.DISCARD:
                self.disk.discard(item.sha256)
            case Effect.FORGET:
                self.failures.discard(item.sha256)
            case Effect.PRESERVE:
                assert before.file is not None
                assert before.sha256 is not None
                self.preserved.add(before.sha256)

    @initialize(keep=st.sampled_from(Keep), dry_run=st.booleans())
    def start_run(self, keep: Keep, dry_run: bool) -> None:
        self.policy = Policy(keep, dry_run)

    @rule(keep=st.sampled_from(Keep), dry_run=st.booleans())
    def next_run(self, keep: Keep, dry_run: bool) -> None:
        self.start_run(keep, dry_run)

    @rule()
    def exclude(self) -> None:
        before = self.item
        self.send(Excluded("too small"))
        if before.state in DECIDED:
            assert self.item.state is before.state, "excluding leaves earlier decisions"

    @rule()
    def include(self) -> None:
        self.send(Included())
        assert self.item.state is not ItemState.SKIPPED or self.item.sha256 is not None

    @rule()
    def retry(self) -> None:
        before = self.item
        self.send(Retried())
        assert self.item.state not in UNAVAILABLE
        if before.state not in UNAVAILABLE:
            assert self.item == before

    @precondition(lambda self: self.item.state is not ItemState.SKIPPED and not self.is_here)
    @rule(sha256=DIGESTS)
    def fetch(self, sha256: str) -> None:
        self.send(Retried())
        self.disk.add(sha256)
        self.send(Fetched("https://x.example", sha256, 3, "image/png", None, sha256))
        assert self.item.state is ItemState.FETCHED
        assert self.item.error is None

    @precondition(lambda self: not self.is_here and self.item.state is ItemState.PENDING)
    @rule(is_missing=st.booleans())
    def fail_to_fetch(self, is_missing: bool) -> None:
        self.send(FetchFailed("no answer", None, is_missing))
        assert self.item.state is (ItemState.GONE if is_missing else ItemState.FAILED)

    @precondition(lambda self: self.item.sha256 is not None and self.item.state not in UNAVAILABLE)
    @rule(sha256=DIGESTS)
    def renew(self, sha256: str) -> None:
        before = self.item
        if sha256 == before.sha256:
            self.send(Confirmed("https://y.example", '"1"'))
            assert self.item.state is before.state
            assert self.item.model == before.model
            return
        self.disk.add(sha256)
        self.send(Fetched("https://y.example", sha256, 3, "image/png", None, sha256, replaces=True))
        assert self.item.model is None, "no result is of the new bytes"
        assert before.file is None or before.sha256 in self.preserved

    @precondition(lambda self: self.item.sha256 is not None)
    @rule(model=MODELS, wanted=st.booleans(), error=st.none() | st.just("torn"), no_picture=st.booleans())
    def classify(self, model: str, wanted: bool, error: str | None, no_picture: bool) -> None:
        result = Classified(
            model, wanted and error is None, error, no_picture and error is not None,
            was_wanted=self.was_wanted, is_here=self.is_here, has_files=self.has_files,
        )  # fmt: skip
        expected = decision(result, self.policy)
        if expected is ItemState.KEPT and not self.is_here:
            return  # the run fetches such an item first
        before = self.item
        self.send(result)
        if before.state in UNAVAILABLE or self.policy.spares(before):
            assert self.item == before
        elif error is None:
            assert self.item.state is expected
            assert self.item.model == model
            self.was_wanted = wanted
        elif (
            before.state is ItemState.KEPT
            and self.item.state is ItemState.KEPT
            and expected is not before.state
        ):
            assert self.item.model == before.model, "a kept item stays by its earlier result"
            assert (self.item.error or "").startswith(NOT_JUDGED)

    @precondition(lambda self: self.item.sha256 is not None and self.is_here)
    @rule()
    def keep_without_classifier(self) -> None:
        before = self.item
        self.send(Classified(is_here=self.is_here, has_files=self.has_files))
        assert self.item.state is ItemState.KEPT or before.state in UNAVAILABLE or self.policy.spares(before)
        assert self.item.model == before.model

    @precondition(lambda self: self.item.sha256 is not None and self.is_here)
    @rule(is_damaged=st.booleans())
    def fail_to_classify(self, is_damaged: bool) -> None:
        before = self.item
        failed = ClassificationFailed("no memory", self.is_here, self.has_files, is_damaged=is_damaged)
        self.send(failed)
        if before.state in UNAVAILABLE or self.policy.spares(before):
            assert self.item == before
        elif before.state is ItemState.KEPT and not is_damaged:
            assert self.item.state is ItemState.KEPT
            assert self.is_here
        else:
            assert self.item.state is ItemState.FAILED
            assert not self.is_here

    @property
    def is_here(self) -> bool:
        return self.item.file is not None and self.item.file in self.disk

    @property
    def has_files(self) -> bool:
        return self.item.sha256 in self.stored

    @invariant()
    def bytes_are_here_exactly_while_they_are_needed(self) -> None:
        if self.item.state in (ItemState.FETCHED, ItemState.KEPT):
            assert self.is_here
        elif self.item.state is not ItemState.PENDING:
            assert self.item.file is None

    @invariant()
    def every_failure_has_a_reason(self) -> None:
        if self.item.state in UNAVAILABLE:
            assert self.item.error


TestLifecycle = Lifecycle.TestCase


@pytest.mark.parametrize(
    ("keep", "dry_run", "result", "expected"),
    [
        (Keep.WOULD_DOWNLOAD, False, Classified(), ItemState.KEPT),
        (Keep.WOULD_DOWNLOAD, False, Classified("one"), ItemState.KEPT),
        (Keep.WOULD_DOWNLOAD, False, Classified("one", would_download=False), ItemState.REJECTED),
        (Keep.ALL, False, Classified("one", would_download=False), ItemState.KEPT),
        (Keep.ALL, True, Classified("one"), ItemState.CLASSIFIED),
        (Keep.NONE, False, Classified("one"), ItemState.CLASSIFIED),
        (Keep.ALL, False, Classified("one", error="torn"), ItemState.FAILED),
        (Keep.ALL, False, Classified("one", error="text", is_no_picture=True), ItemState.KEPT),
        (Keep.NONE, False, Classified("one", error="text", is_no_picture=True), ItemState.SKIPPED),
    ],
)
def test_a_result_leads_to_a_state(
    keep: Keep, dry_run: bool, result: Classified, expected: ItemState
) -> None:
    assert decision(result, Policy(keep, dry_run)) is expected
