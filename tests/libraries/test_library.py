"""What a library keeps, and what it refuses."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from sightline.errors import InvalidRequest, LibraryBusy, LibraryDamaged, LibraryRefused, UnknownLibrary
from sightline.libraries import Filter, Library, ModelState, NewItem, Shelf
from sightline.libraries.filters import read_date, read_near
from sightline.libraries.items import StoredAnswer


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture
def library(shelf: Shelf):
    with shelf.open("photos", create=True) as library:
        yield library


def model_of(library: Library, fingerprint: str = "one"):
    return library.begin_model("clip", "clip", fingerprint, 4, "published")


def item(path: str, vector=None, model=None, **given) -> NewItem:
    facts = {
        "size": 1, "mtime_ns": 1, "sha256": path, "perceptual_hash": 2**63 + 5,
        "format": "jpeg", "width": 640, "height": 480,
    }  # fmt: skip
    vectors = {} if vector is None else {model.id: np.array(vector, np.float32)}
    return NewItem(path=path, vectors=vectors, **(facts | given))


def test_an_item_is_found_by_its_vector_and_replaced_by_its_path(library: Library) -> None:
    model = model_of(library)
    first, second = library.add([item("/a.jpg", [1, 0, 0, 0], model), item("/b.jpg", [0, 2, 0, 0], model)])
    found = library.nearest(model, np.array([0, 1, 0, 0], np.float32), 5)
    assert found.items.tolist() == [second, first]
    assert found.similarities.tolist() == [1.0, 0.0]
    assert library.add([item("/b.jpg", [-1, 0, 0, 0], model)]) == [second]
    found = library.nearest(model, np.array([0, 1, 0, 0], np.float32), 5)
    assert found.similarities.tolist() == [0.0, 0.0]
    library.remove([first])
    assert library.nearest(model, np.array([1, 0, 0, 0], np.float32), 5).items.tolist() == [second]
    assert len(library) == 1


def test_another_connection_sees_what_was_added(shelf: Shelf, library: Library) -> None:
    model = model_of(library)
    query = np.array([1, 0, 0, 0], np.float32)
    with shelf.open("photos") as other:
        assert other.nearest(model, query, 5).items.tolist() == []
        (added,) = library.add([item("/a.jpg", [1, 0, 0, 0], model)])
        assert other.nearest(model, query, 5).items.tolist() == [added]
        library.remove([added])
        assert other.nearest(model, query, 5).items.tolist() == []


def test_a_library_made_anew_does_not_read_the_old_index(shelf: Shelf) -> None:
    for vector in ([1, 0, 0, 0], [0, 1, 0, 0]):
        with shelf.open("again", create=True) as library:
            model = model_of(library)
            library.add([item(f"/{vector}.jpg", vector, model)])
            found = library.nearest(model, np.array(vector, np.float32), 5)
            assert found.similarities.tolist() == [1.0]
        shelf.delete("again")
    assert shelf.names() == []


def test_a_second_model_serves_when_it_is_full(library: Library) -> None:
    old = model_of(library)
    library.add([item("/a.jpg", [1, 0, 0, 0], old)])
    new = model_of(library, "two")
    assert (old.state, new.state) == (ModelState.SERVING, ModelState.FILLING)
    assert [each.path for each in library.lacking(new)] == ["/a.jpg"]
    (lacking,) = library.lacking(new)
    library.add_vectors({lacking.id: {new.id: np.array([0, 1, 0, 0], np.float32)}})
    assert library.serving() == [old]
    library.serve(new)
    (serving,) = library.models()
    assert (serving.fingerprint, serving.state) == ("two", ModelState.SERVING)
    assert library.nearest(serving, np.array([0, 1, 0, 0], np.float32), 5).similarities.tolist() == [1.0]


@pytest.mark.parametrize("vector", [[0, 0, 0, 0], [np.nan, 0, 0, 0], [np.inf, 0, 0, 0]])
def test_a_vector_that_cannot_be_compared_is_refused_and_adds_nothing(library: Library, vector) -> None:
    model = model_of(library)
    with pytest.raises(LibraryRefused):
        library.add([item("/good.jpg", [1, 0, 0, 0], model), item("/bad.jpg", vector, model)])
    assert len(library) == 0


def answer(**fields: str | float) -> StoredAnswer:
    return StoredAnswer("identify_species", {"a": 1}, fields=fields, text=str(fields.get("species", "")))


@pytest.fixture
def stocked(library: Library) -> Library:
    library.add(
        [
            item("/trap/1.jpg", taken_at="2021-05-01T10:00:00", latitude=52.1, longitude=5.1, country="NL",
                 answers=[answer(species="Vulpes vulpes", score=0.9)]),
            item("/trap/2.jpg", taken_at="2020-05-01T10:00:00", latitude=52.3, longitude=5.1, width=2000,
                 answers=[answer(species="Meles meles", score=0.4)]),
            item("/home/3%_x.jpg", latitude=-17.0, longitude=179.9, camera='Brown"ing'),
        ]
    )  # fmt: skip
    return library


def ids(library: Library, **given) -> list[int]:
    return library.ids(Filter(**given)).tolist()


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ('species = "Vulpes vulpes"', [1]),
        ("species = 'VULPES VULPES'", [1]),
        ('species != "Vulpes vulpes"', [2, 3]),
        ("species ~ eles", [2]),
        ("score > 0.5", [1]),
        ("score > 0.1 and not width >= 1000", [1]),
        ("width >= 1000 or camera ~ brown", [2, 3]),
        ('(species ~ v and score < 1) or path ~ "3%_"', [1, 3]),
        ("path ~ %", [3]),
        ("path ~ _", [3]),
        ("country = nl", [1]),
        ("country != NL", [2, 3]),
        ('camera = "Brown\\"ing"', [3]),
        ("nothing = 1", []),
        ("nothing != 1", [1, 2, 3]),
    ],
)
def test_conditions(stocked: Library, where: str, expected: list[int]) -> None:
    assert ids(stocked, where=where) == expected


@pytest.mark.parametrize(
    "where",
    [
        "", "species", "species =", "= 1", "species = 1 and", "species = 1 2", "(species = 1", "species = 1)",
        "species == 1", "a = ;", "not", '"species" = 1', "species = 'open", "(" * 60 + "a=1" + ")" * 60,
        "a = 1 " + "or a = 1 " * 400,
    ],
)  # fmt: skip
def test_conditions_that_cannot_be_read(stocked: Library, where: str) -> None:
    if where == "a = ;":
        assert ids(stocked, where=where) == []
        return
    with pytest.raises(InvalidRequest):
        ids(stocked, where=where)


@pytest.mark.parametrize(
    "value", ["'; DROP TABLE item; --", '" OR 1=1 --', "x') OR ('1'='1", "\\", "%' OR '1", "\0"]
)
def test_a_value_is_never_part_of_the_statement(stocked: Library, value: str) -> None:
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert ids(stocked, where=f"species = {quoted}") == []
    assert ids(stocked, where=f"path = {quoted}") == []
    assert ids(stocked, folder=value) == []
    assert stocked.with_words(value, 5) == []
    assert len(stocked) == 3


def test_dates_places_and_folders(stocked: Library) -> None:
    assert ids(stocked, after=read_date("after", "2021")) == [1]
    assert ids(stocked, before=read_date("before", "2021-01")) == [2]
    assert ids(stocked, near=read_near("52.1,5.1,10km")) == [1]
    assert ids(stocked, near=read_near("52.1,5.1,23km")) == [1, 2]
    assert ids(stocked, near=read_near("-17,-179.9,30km")) == [3], "across the 180th meridian"
    assert ids(stocked, near=read_near("89,0,5000km")) == [1, 2]
    assert ids(stocked, folder="/trap") == [1, 2]
    assert ids(stocked, folder="/tra") == []


@pytest.mark.parametrize(
    "text", ["", "52.1", "52.1,5.1", "91,0,1km", "0,181,1km", "0,0,0km", "0,0,1mi", "a,b,c"]
)
def test_a_circle_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InvalidRequest):
        read_near(text)


def test_words_of_answers_names_and_places(stocked: Library) -> None:
    assert stocked.with_words("vulpes", 5) == [1]
    assert stocked.with_words("VULPES trap", 5) == [1]
    assert stocked.with_words("meles", 5, np.array([1])) == []
    assert stocked.with_words('"" * ( ) -', 5) == []
    stocked.move(1, "/elsewhere/1.jpg", 1, 1)
    assert stocked.with_words("elsewhere", 5) == [1]


def test_copies_and_hashes(library: Library) -> None:
    library.add([item("/a.jpg", sha256="x"), item("/b.jpg", sha256="y"), item("/c.jpg", sha256="x")])
    assert library.copies() == [[1, 3]]
    found, hashes = library.perceptual_hashes()
    assert found.tolist() == [1, 2, 3]
    assert hashes.tolist() == [2**63 + 5] * 3


def test_two_writers_at_once_are_refused(shelf: Shelf, library: Library) -> None:
    refused = []

    def write() -> None:
        with shelf.open("photos") as other:
            try:
                with other.writing():
                    pass
            except LibraryBusy:
                refused.append(True)

    with library.writing():
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert refused == [True]
    with library.writing():
        pass


def test_files_that_are_not_libraries(tmp_path: Path, shelf: Shelf) -> None:
    (tmp_path / "text.library").write_bytes(b"no database at all, but long enough to be looked at" * 50)
    with sqlite3.connect(tmp_path / "other.library") as other:
        other.execute("CREATE TABLE x (y)")
    other.close()
    with shelf.open("newer", create=True):
        pass
    with sqlite3.connect(tmp_path / "newer.library") as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(LibraryDamaged):
        shelf.open("text")
    for name in ("other", "newer"):
        with pytest.raises(LibraryRefused):
            shelf.open(name)
    assert shelf.names() == ["newer"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65, "a b"])
def test_names_that_cannot_be_a_librarys(shelf: Shelf, name: str) -> None:
    with pytest.raises(InvalidRequest):
        shelf.open(name, create=True)


def test_a_library_that_is_not_there_is_not_made(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(UnknownLibrary):
        shelf.open("photos")
    assert list(tmp_path.iterdir()) == []
