from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline.errors import BundleInvalid, DigestMismatch, SightlineError, SourceMissing, WeightsError
from sightline.types import Provenance

ONE, TWO = b"model one " * 300, b"model two"


@pytest.fixture
def cards(wanted):
    return {"one": wanted("model.onnx", "config.json", model="one"), "two": wanted("model.onnx", model="two")}


@pytest.fixture
def full_store(store, cards, tmp_path):
    for model, data in (("one", ONE), ("two", TWO)):
        folder = tmp_path / f"exported-{model}"
        folder.mkdir()
        (folder / "model.onnx").write_bytes(data)
        (folder / "config.json").write_bytes(b"{}")
        store.adopt(cards[model], folder, Provenance.EXPORTED, "made elsewhere")
    return store


@pytest.fixture
def bundle(full_store, cards, tmp_path):
    full_store.bundle(list(cards.values()), tmp_path / "bundle.tar")
    return tmp_path / "bundle.tar"


@pytest.fixture
def other(make_store, tmp_path):
    """The store of another machine, without a network."""
    return make_store(root=tmp_path / "other", offline=True)


@pytest.fixture
def rewrite(bundle):
    """Write the bundle again after ``change(members)``; members are (TarInfo, bytes) in order."""

    def run(change, tar_format=tarfile.USTAR_FORMAT):
        with tarfile.open(bundle) as archive:
            members = [(member, archive.extractfile(member).read()) for member in archive.getmembers()]
        members = change(members)
        with tarfile.open(bundle, "w", format=tar_format) as archive:
            for member, data in members:
                if member.isreg():
                    member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return bundle

    return run


def _sums_again(members):
    """The checksums an attacker would of course correct."""
    *rest, (sums, _) = members
    text = "".join(f"{hashlib.sha256(data).hexdigest()}  {member.name}\n" for member, data in rest)
    return [*rest, (sums, text.encode())]


def _refused(other, path, cards, tmp_path, tree, match="bundle"):
    outside = {name: data for name, data in tree(tmp_path).items() if not name.startswith("other/")}
    with pytest.raises(BundleInvalid, match=match) as caught:
        other.import_bundle(path, cards)
    assert str(tmp_path) not in str(caught.value)
    assert other.installed(cards["one"]) is None
    assert other.installed(cards["two"]) is None
    assert [name for name in tree(tmp_path / "other") if not name.startswith(".locks")] == []
    after = {name: data for name, data in tree(tmp_path).items() if not name.startswith("other/")}
    assert after == outside


def test_a_bundle_installs_the_same_models_elsewhere(bundle, full_store, other, cards, no_sockets):
    imported = other.import_bundle(bundle, cards)
    assert [item.model for item in imported] == ["one", "two"]
    for item in imported:
        assert other.installed(cards[item.model], verify=True) == item
        assert item.provenance is Provenance.IMPORTED
        assert item.manifest.origin == "bundle; made elsewhere"
        assert item.fingerprint == full_store.installed(cards[item.model]).fingerprint
    assert imported[0].files["model.onnx"].read_bytes() == ONE
    assert no_sockets == []


def test_a_bundle_of_a_bundle_is_still_one(bundle, other, make_store, cards, tmp_path):
    other.import_bundle(bundle, cards)
    other.bundle([cards["one"]], tmp_path / "again.tar")
    third = make_store(root=tmp_path / "third")
    [item] = third.import_bundle(tmp_path / "again.tar", cards)
    assert item.manifest.origin == "bundle; made elsewhere"


def test_equal_models_give_equal_bytes_whatever_their_order(full_store, bundle, cards, tmp_path):
    full_store.bundle(list(reversed(cards.values())), tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == bundle.read_bytes()


def test_anybody_can_check_it_with_standard_tools(bundle, tmp_path):
    subprocess.run(["tar", "-xf", str(bundle), "-C", str(tmp_path)], check=True)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)
    assert (tmp_path / "LICENCES.txt").read_text() == (
        "one: MIT (https://example.org/demo)\ntwo: MIT (https://example.org/demo)\n"
    )


def test_importing_again_repairs(bundle, other, cards):
    path = other.import_bundle(bundle, cards)[0].files["model.onnx"]
    path.write_bytes(b"x" * len(ONE))
    other.import_bundle(bundle, cards)
    assert other.installed(cards["one"], verify=True).files["model.onnx"].read_bytes() == ONE


def test_random_weights_stay_random(make_store, cards, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"noise")
    source = make_store(allow_random=True)
    source.adopt(cards["two"], tmp_path, Provenance.RANDOM, "seed 1")
    source.bundle([cards["two"]], tmp_path / "bundle.tar")
    target = make_store(root=tmp_path / "other")
    [item] = target.import_bundle(tmp_path / "bundle.tar", cards)
    assert item.provenance is Provenance.RANDOM
    assert target.installed(cards["two"]) is None
    assert make_store(root=tmp_path / "other", allow_random=True).installed(cards["two"]) == item


def test_only_intact_installed_models_are_bundled(full_store, cards, wanted, tmp_path):
    with pytest.raises(
        SourceMissing, match="three is not installed; bring it in with `sightline models pull"
    ):
        full_store.bundle([wanted("x", model="three")], tmp_path / "bundle.tar")
    path = full_store.installed(cards["one"]).files["model.onnx"]
    path.write_bytes(b"x" * len(ONE))
    with pytest.raises(DigestMismatch, match=r"model.onnx of one"):
        full_store.bundle([cards["one"]], tmp_path / "bundle.tar")
    assert [path.name for path in tmp_path.iterdir() if "bundle" in path.name] == []


@pytest.mark.parametrize(
    "name", ["../escaped", "/tmp/escaped", "one/../../escaped", "one/./model.onnx", "ONE/model.onnx", "one/"]
)
def test_foreign_names_are_refused(rewrite, other, cards, tmp_path, tree, name):
    def rename(members):
        members[2][0].name = name
        return _sums_again(members)

    _refused(other, rewrite(rename), cards, tmp_path, tree)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_only_plain_files_are_taken(rewrite, other, cards, tmp_path, tree, kind):
    def turn(members):
        members[2][0].type, members[2][0].linkname, members[2][0].size = kind, "/etc/passwd", 0
        return members

    _refused(other, rewrite(turn), cards, tmp_path, tree)


@pytest.mark.parametrize("where", [0, 1, 2, -1, 99])
def test_extra_members_are_refused_wherever_they_stand(rewrite, other, cards, tmp_path, tree, where):
    def insert(members):
        members.insert(where, (tarfile.TarInfo("one/extra"), b"extra"))
        return members

    _refused(other, rewrite(insert), cards, tmp_path, tree)


@pytest.mark.parametrize("where", range(6))
def test_no_member_may_be_missing_or_twice(rewrite, other, cards, tmp_path, tree, where):
    _refused(
        other,
        rewrite(lambda members: members[:where] + members[where + 1 :]),
        cards,
        tmp_path,
        tree,
    )


def test_tars_own_extensions_are_refused(rewrite, other, cards, tmp_path, tree):
    def comment(members):
        members[2][0].pax_headers = {"comment": "x" * 1000}
        return members

    _refused(other, rewrite(comment, tarfile.PAX_FORMAT), cards, tmp_path, tree)


def test_a_changed_file_is_refused_even_with_new_sums(rewrite, other, cards, tmp_path, tree):
    def change(members):
        members[3] = (members[3][0], b"evil" + members[3][1][4:])
        return _sums_again(members)

    _refused(other, rewrite(change), cards, tmp_path, tree, match="one/model.onnx in the bundle is damaged")


@pytest.mark.parametrize("where", [1, -1])
def test_changed_texts_are_refused(rewrite, other, cards, tmp_path, tree, where):
    def change(members):
        name, text = members[where]
        members[where] = (name, (b"1" if text[:1] == b"0" else b"0") + text[1:])
        return members

    _refused(other, rewrite(change), cards, tmp_path, tree, match="does not match the bundle's")


def _change_index(members, change):
    index = json.loads(members[0][1])
    change(index)
    text = json.dumps(index, indent=2, sort_keys=True).encode() + b"\n"
    return _sums_again([(members[0][0], text), *members[1:]])


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.update(format=2),
        lambda index: index.update(surprise=1),
        lambda index: index.update(models=3),
        lambda index: index["models"].reverse(),
        lambda index: index["models"].append(index["models"][0]),
        lambda index: index["models"][0].update(model="../one"),
        lambda index: index["models"][0].update(model="unknown"),
        lambda index: index["models"][0].update(provenance="random"),
        lambda index: index["models"][0]["files"].pop("config.json"),
        lambda index: index["models"][0]["files"].update({"../x": index["models"][0]["files"]["model.onnx"]}),
        lambda index: index["models"][0]["files"]["model.onnx"].update(size_bytes=1),
    ],
)
def test_a_hostile_index_is_refused(rewrite, other, cards, tmp_path, tree, change):
    path = rewrite(lambda members: _change_index(members, change))
    _refused(other, path, cards, tmp_path, tree)


@pytest.mark.parametrize("index", [b"", b"[]", b"[" * 100_000, b'{"format": 1}', b"\xff", b"1" * 5000])
def test_an_index_that_is_none_is_refused(rewrite, other, cards, tmp_path, tree, index):
    _refused(other, rewrite(lambda members: [(members[0][0], index), *members[1:]]), cards, tmp_path, tree)


def test_a_bomb_is_refused_before_it_goes_off(rewrite, other, cards, tmp_path, tree):
    """An index that claims a petabyte, and a text member that claims eight gigabytes."""

    def claim(members):
        return _change_index(
            members, lambda index: index["models"][0]["files"]["model.onnx"].update(size_bytes=10**15)
        )

    with pytest.raises(WeightsError, match="not enough disk space"):
        other.import_bundle(rewrite(claim), cards)

    info = tarfile.TarInfo("sightline-bundle.json")
    info.size = 8**11 - 1
    path = tmp_path / "bomb.tar"
    path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(10_000))
    _refused(other, path, cards, tmp_path, tree, match="too long")


def test_a_compressed_bundle_is_refused(bundle, other, cards, tmp_path, tree):
    import gzip

    bundle.write_bytes(gzip.compress(bundle.read_bytes()))
    _refused(other, bundle, cards, tmp_path, tree)


def test_bytes_behind_the_end_are_refused(bundle, other, cards, tmp_path, tree):
    bundle.write_bytes(bundle.read_bytes() + b"payload")
    _refused(other, bundle, cards, tmp_path, tree, match="more than its index says")


def test_a_card_that_pins_another_file_refuses_it(store, wanted, artifact, other, hub, tmp_path):
    hub.put("model.onnx", b"honest")
    card = wanted("model.onnx")
    store.pull(card)
    store.bundle([card], tmp_path / "bundle.tar")
    pinned = wanted(artifact("model.onnx", sha256="0" * 64))
    with pytest.raises(
        BundleInvalid, match=r"model.onnx of demo in the bundle is not the file its card pins"
    ):
        other.import_bundle(tmp_path / "bundle.tar", {"demo": pinned})


def test_no_file_at_all(other, cards, tmp_path):
    with pytest.raises(BundleInvalid, match="cannot be opened"):
        other.import_bundle(tmp_path / "none.tar", cards)
    with pytest.raises(BundleInvalid, match="cannot be opened"):
        other.import_bundle(tmp_path, cards)


SHARED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SHARED
@given(data=st.data())
def test_a_truncated_bundle_is_refused(data, bundle, other, cards, tmp_path):
    whole = bundle.read_bytes()
    # The two closing zero blocks and what tar fills up with carry nothing.
    end = len(whole.rstrip(b"\0"))
    short = tmp_path / "short.tar"
    short.write_bytes(whole[: data.draw(st.integers(0, end - 1))])
    with pytest.raises(BundleInvalid):
        other.import_bundle(short, cards)
    assert other.installed(cards["one"]) is None


@SHARED
@given(data=st.data())
def test_a_flipped_bit_is_refused_or_harmless(data, bundle, make_store, cards, tmp_path, full_store):
    """Header fields that nobody reads (owner, date) are covered by the header's own sum only."""
    content = bytearray(bundle.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    other = make_store(root=tmp_path / "other")
    flipped = tmp_path / "flipped.tar"
    flipped.write_bytes(content)
    try:
        imported = other.import_bundle(flipped, cards)
    except SightlineError:
        assert other.installed(cards["one"]) is None
        return
    for item in imported:
        assert item.fingerprint == full_store.installed(cards[item.model]).fingerprint
        other.remove(item.model)
