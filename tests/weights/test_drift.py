"""The record beside the weights: whose it is, what harms it, and what leaves it there."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.errors import ConfigurationError, SourceMissing, WeightsError
from sightline.settings import Precision
from sightline.types import Provenance
from sightline.weights.drift import DriftRecord, FindFigures, Limits, Spread, digests_of, read_record
from sightline.weights.store import Installed, Store, Wanted

figure = st.floats(0, 1e9)
spreads = st.none() | st.builds(Spread, figure, figure, figure)
count = st.integers(0, 10**9)
records = st.builds(
    DriftRecord,
    format=st.just(1),
    model=st.just("demo"),
    fingerprint=st.just("0" * 16),
    digests=st.dictionaries(st.just("model.onnx"), st.just("a" * 64)),
    precision=st.sampled_from(Precision),
    arithmetic=st.just("OpenVINO 1, some processor"),
    min_score=st.floats(0, 1),
    limits=st.builds(Limits, figure, figure, st.floats(0, 1)),
    figures=st.builds(FindFigures, count, count, count, count, count, spreads, spreads),
    within_limits=st.booleans(),
    f32_s=figure,
    half_s=figure,
    measured_at=st.just("2026-01-02T03:04:05+00:00"),
    version=st.just("0.1.0"),
)


def record_of(installed: Installed) -> DriftRecord:
    spread = Spread(0.1, 0.5, 2.0)
    return DriftRecord(
        format=1,
        model=installed.model,
        fingerprint=installed.fingerprint,
        digests=digests_of(installed.manifest),
        precision=Precision.BF16,
        arithmetic="OpenVINO 1, some processor",
        min_score=0.2,
        limits=Limits(),
        figures=FindFigures(30, 40, 1, 0, 0, spread, spread),
        within_limits=True,
        f32_s=0.8,
        half_s=0.4,
        measured_at="2026-01-02T03:04:05+00:00",
        version="0.1.0",
    )


@pytest.fixture
def card(wanted: Callable[..., Wanted]) -> Wanted:
    return wanted("model.onnx")


@pytest.fixture
def installed(hub: Any, store: Store, card: Wanted) -> Installed:
    hub.put("model.onnx", b"weights")
    return store.pull(card)


@pytest.fixture
def kept(store: Store, card: Wanted, installed: Installed) -> Path:
    store.keep_drift(card, record_of(installed))
    return installed.files["model.onnx"].parent / "drift.json"


@given(records)
def test_a_record_is_read_as_it_was_written(record: DriftRecord) -> None:
    assert DriftRecord.from_json(record.to_json()) == record


def test_nothing_measured_is_no_record(installed: Installed) -> None:
    assert read_record(installed) is None


def test_a_model_without_files_has_none(store: Store, wanted: Callable[..., Wanted]) -> None:
    built_in = store.installed(wanted())
    assert built_in is not None
    assert read_record(built_in) is None


def test_a_record_lies_beside_its_weights(kept: Path, installed: Installed) -> None:
    assert kept.is_file()
    assert read_record(installed) == record_of(installed)
    assert not list(kept.parent.parent.glob(".staging/*"))


def test_a_second_one_replaces_the_first(
    kept: Path, store: Store, card: Wanted, installed: Installed
) -> None:
    worse = dataclasses.replace(record_of(installed), within_limits=False)
    store.keep_drift(card, worse)
    assert read_record(installed) == worse


def damaged(change: Callable[[dict[str, Any]], object], *, sealed: bool = True) -> Callable[[bytes], bytes]:
    """Changes fields; with the digest that the changed record would have, unless not ``sealed``."""

    def apply(data: bytes) -> bytes:
        fields = json.loads(data)
        change(fields)
        if sealed:
            del fields["sha256"]
            fields["sha256"] = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
        return json.dumps(fields).encode()

    return apply


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: b"",
        lambda data: data[:-20],
        lambda data: b"\xff" + data,
        lambda data: b"[" * 30_000,
        lambda data: data + b" " * 70_000,
        damaged(lambda fields: fields.pop("within_limits")),
        damaged(lambda fields: fields.update(within_limits="yes")),
        damaged(lambda fields: fields.update(precision="int8")),
        damaged(lambda fields: fields.update(format=2)),
        damaged(lambda fields: fields.update(more=1)),
        damaged(lambda fields: fields.update(f32_s=-1)),
        damaged(lambda fields: fields["figures"].update(both=1.5)),
        damaged(lambda fields: fields.update(within_limits=False), sealed=False),
        damaged(lambda fields: fields.update(f32_s=fields["f32_s"] * 2), sealed=False),
        damaged(lambda fields: fields.pop("sha256"), sealed=False),
    ],
)
def test_a_damaged_record_says_so(kept: Path, installed: Installed, harm: Callable[[bytes], bytes]) -> None:
    kept.write_bytes(harm(kept.read_bytes()))
    with pytest.raises(ValueError, match="the record of its drift is damaged"):
        read_record(installed)


def test_a_record_that_cannot_be_read_says_so(kept: Path, installed: Installed) -> None:
    kept.unlink()
    kept.mkdir()
    with pytest.raises(ValueError, match="cannot be read"):
        read_record(installed)


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.update(model="other"),
        lambda fields: fields.update(fingerprint="0" * 16),
        lambda fields: fields["digests"].update({"model.onnx": "0" * 64}),
        lambda fields: fields["digests"].update({"more.onnx": "0" * 64}),
    ],
)
def test_a_record_of_other_weights_says_so(
    kept: Path, installed: Installed, change: Callable[[dict[str, Any]], object]
) -> None:
    kept.write_bytes(damaged(change)(kept.read_bytes()))
    with pytest.raises(ValueError, match="the record of its drift is of other weights"):
        read_record(installed)


def test_a_record_of_weights_that_are_gone_is_refused(
    hub: Any, store: Store, card: Wanted, installed: Installed
) -> None:
    record = record_of(installed)
    hub.put("model.onnx", b"other weights")
    store.pull(card, force=True)
    with pytest.raises(SourceMissing, match="changed while their drift was measured"):
        store.keep_drift(card, record)


def test_a_record_that_cannot_be_written_is_an_error(
    store: Store, card: Wanted, installed: Installed
) -> None:
    (installed.files["model.onnx"].parent / "drift.json").mkdir()
    with pytest.raises(WeightsError, match="the record of the drift cannot be written"):
        store.keep_drift(card, record_of(installed))


def test_other_weights_take_the_record_away(hub: Any, store: Store, card: Wanted, kept: Path) -> None:
    hub.put("model.onnx", b"other weights")
    assert read_record(store.pull(card, force=True)) is None
    assert not kept.exists()


def test_the_same_weights_again_leave_it_there(
    store: Store, card: Wanted, installed: Installed, kept: Path
) -> None:
    again = store.pull(card, force=True)
    assert read_record(again) == record_of(installed)


def test_a_damaged_record_stops_nothing(store: Store, card: Wanted, installed: Installed, kept: Path) -> None:
    kept.write_bytes(b"junk")
    assert store.installed(card, verify=True) is not None
    store.pull(card, force=True)
    assert not kept.exists()


def test_verifying_does_not_mind_the_record(store: Store, card: Wanted, kept: Path) -> None:
    assert store.installed(card, verify=True) is not None
    assert store.installed(card) is not None


def test_removing_the_model_removes_it(store: Store, kept: Path) -> None:
    store.remove("demo")
    assert not kept.exists()
    assert store.disk_bytes("demo") == 0


def test_a_bundle_leaves_it_behind(
    make_store: Callable[..., Store],
    store: Store,
    card: Wanted,
    installed: Installed,
    kept: Path,
    tmp_path: Path,
) -> None:
    """It speaks of this machine's arithmetic; where the bundle goes, that is another."""
    bundle = tmp_path / "bundle.tar"
    store.bundle([card], bundle)
    there = make_store(root=tmp_path / "there")
    (elsewhere,) = there.import_bundle(bundle, {"demo": card})
    assert read_record(elsewhere) is None
    (here,) = store.import_bundle(bundle, {"demo": card})
    assert read_record(here) == record_of(installed), "the very same weights came in again"


def test_random_weights_have_a_record_of_their_own(
    make_store: Callable[..., Store], card: Wanted, installed: Installed, tmp_path: Path
) -> None:
    folder = tmp_path / "random"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"random weights")
    store = make_store(allow_random=True)
    random = store.adopt(card, folder, Provenance.RANDOM, "seed 1")
    make_store().keep_drift(card, record_of(random))
    assert read_record(random) == record_of(random)
    assert read_record(installed) is None


def test_no_artifact_may_have_its_name(wanted: Callable[..., Wanted]) -> None:
    with pytest.raises(ConfigurationError, match=r"'drift.json' cannot be the name of an artifact"):
        wanted("drift.json")
