from __future__ import annotations

import html
import json
from typing import Any

import pytest

from sightline.errors import ExamplesUnreachable, InvalidExamples, UrlRefused
from sightline.fetching import FetchPolicy
from sightline.jobs.collections.plans import Plan
from sightline.jobs.collections.sources import Offer, silent
from sightline.jobs.collections.sources import service as service_module
from sightline.jobs.collections.sources.documents import Documents
from sightline.jobs.collections.sources.service import CollectionService
from sightline.settings import Settings
from sightline.types import Target

DATA = "/collections/7/training_data.json"
FOCUS = {"derivative_type_name": "prominent_face", "embedding_type_name": "embed_dino_v2"}


@pytest.fixture
async def source(service, policy, patience):
    async with Documents(service.url, policy, patience=patience) as documents:
        yield CollectionService(documents)


async def examples(source, offer=None):
    return await source.examples(offer or Offer("7"), silent)


async def test_collections_come_with_how_their_vectors_were_made(service, source) -> None:
    service.pages["/collections.json"] = [
        {"id": 7, "name": "Cats"},
        {"id": 8, "name": "Faces", "collection_focus": FOCUS},
        {"id": "mixed", "name": "Both", "collection_focus": {"embedding_type_name": "clip+dinov2"}},
        {"id": 9, "name": "New", "collection_focus": None},
    ]
    offers = await source.offers()
    assert [(offer.collection, offer.title, offer.problem) for offer in offers] == [
        ("7", "Cats", ""), ("8", "Faces", ""), ("mixed", "Both", ""), ("9", "New", ""),
    ]  # fmt: skip
    assert offers[0].plan == offers[3].plan == Plan()
    assert offers[1].plan == Plan(("dinov2-base-518",), Target.PROMINENT_FACE)
    assert offers[2].plan.spaces == ("clip-vit-b-32", "dinov2-base")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("x", "no object with an 'id'"),
        ({"name": "nameless"}, "no object with an 'id'"),
        ({"id": "../../etc"}, "cannot be a collection's id"),
        ({"id": 1, "collection_focus": 5}, "must be an object"),
        ({"id": 1, "collection_focus": {"derivative_type_name": "left_foot"}}, "known are whole_image"),
        ({"id": 1, "collection_focus": {"embedding_type_name": "a++b"}}, "names no embeddings"),
    ],
)
async def test_an_odd_entry_is_a_problem_of_its_own(service, source, entry: Any, problem: str) -> None:
    service.pages["/collections.json"] = [entry, {"id": 2, "name": "fine"}]
    odd, fine = await source.offers()
    assert problem in odd.problem
    assert (fine.collection, fine.problem) == ("2", "")


async def test_an_embedding_nobody_has_here_is_a_problem(service, policy, patience) -> None:
    service.pages["/collections.json"] = [{"id": 1, "collection_focus": {"embedding_type_name": "embed_x"}}]
    async with Documents(service.url, policy, patience=patience) as documents:
        (offer,) = await CollectionService(documents, known=["clip-vit-b-32"]).offers()
    assert "no embedding 'embed_x'; there are clip-vit-b-32" in offer.problem


async def test_examples_are_read(service, source, labelled) -> None:
    service.pages[DATA] = labelled(30)
    found = (await examples(source)).examples
    assert (len(found), found.positives, found.recipe.dimensions) == (30, 10, 8)
    assert found.recipe.spaces[0].fingerprint is None


async def test_examples_in_a_page_are_the_same(service, source, labelled) -> None:
    plain = labelled(30)
    service.pages[DATA] = f"<html><body><pre>{html.escape(json.dumps(plain))}</pre></body></html>".encode()
    found = (await examples(source)).examples
    service.pages[DATA] = plain
    assert (found.vectors == (await examples(source)).examples.vectors).all()


async def test_whoever_knows_the_model_can_say_so(service, policy, patience, labelled) -> None:
    service.pages[DATA] = labelled(30)
    async with Documents(service.url, policy, patience=patience) as documents:
        source = CollectionService(documents, fingerprints={"clip-vit-b-32": "0123456789abcdef"})
        found = await examples(source)
    assert found.examples.recipe.spaces[0].fingerprint == "0123456789abcdef"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[3].pop("label"), "example 3 is no object with 'embedding' and 'label'"),
        (lambda data: data.__setitem__(4, "x"), "example 4 is no object"),
        (lambda data: data[5].__setitem__("embedding", "1,2"), "embedding of example 5 is no list"),
        (lambda data: data[6].__setitem__("embedding", ["a"]), "example 6 has a vector that is no list"),
        (lambda data: data[7]["embedding"].pop(), "example 7 has 7 numbers"),
        (lambda data: data[8]["embedding"].__setitem__(0, float("nan")), "example 8 has nan"),
        (lambda data: data[9].__setitem__("label", "yes"), "example 9 has the label 'yes'"),
        (lambda data: [each.__setitem__("label", True) for each in data], "of one class"),
        (lambda data: data.clear(), "no examples"),
    ],
)
async def test_bad_examples_are_named(service, source, labelled, change: Any, said: str) -> None:
    data = labelled(30)
    change(data)
    service.pages[DATA] = data
    with pytest.raises(InvalidExamples, match=said):
        await examples(source)


async def test_a_collection_that_vanished_says_so_at_once(service, source) -> None:
    with pytest.raises(ExamplesUnreachable, match="is gone: the service answered 404"):
        await examples(source)
    assert service.asked == [DATA]


async def test_passing_troubles_pass(service, source, labelled) -> None:
    body = json.dumps(labelled(30)).encode()
    service.pages[DATA] = [(503, b""), (502, b""), (200, body)]
    assert len((await examples(source)).examples) == 30
    assert len(service.asked) == 3


async def test_lasting_troubles_are_told_with_their_number(service, source) -> None:
    service.pages[DATA] = [(503, b"")] * 3
    with pytest.raises(ExamplesUnreachable, match="was answered with 503, 3 times"):
        await examples(source)


async def test_other_refusals_are_not_tried_again(service, source) -> None:
    service.pages[DATA] = [(403, b"")]
    with pytest.raises(ExamplesUnreachable, match="answered with 403"):
        await examples(source)
    assert len(service.asked) == 1


async def test_nobody_there(policy, patience) -> None:
    async with Documents("http://127.0.0.1:9", policy, patience=patience) as documents:
        with pytest.raises(ExamplesUnreachable, match=r"did not answer .*3 times"):
            await CollectionService(documents).offers()


async def test_a_page_that_is_no_list_is_named(service, source) -> None:
    service.pages["/collections.json"] = b"<html><body>Sign in</body></html>"
    with pytest.raises(ExamplesUnreachable, match=r"collections\.json is a page without a list"):
        await source.offers()


async def test_more_than_the_cap_is_not_read(service, source, monkeypatch) -> None:
    monkeypatch.setattr(service_module, "MAX_LIST_BYTES", 2**20)
    service.pages["/collections.json"] = b"[" + b" " * 2**20 + b"]"
    with pytest.raises(ExamplesUnreachable, match="longer than 1 MiB"):
        await source.offers()


async def test_an_endless_body_is_not_read_to_its_end(service, source, monkeypatch) -> None:
    monkeypatch.setattr(service_module, "MAX_LIST_BYTES", 2**20)
    service.headers = {"Transfer-Encoding": "chunked"}
    chunk = b"40000\r\n" + b" " * 0x40000 + b"\r\n"
    service.pages["/collections.json"] = chunk * 8
    with pytest.raises(ExamplesUnreachable, match="longer than 1 MiB"):
        await source.offers()


async def test_compressed_answers_are_not_inflated(service, source) -> None:
    service.headers = {"Content-Encoding": "gzip"}
    service.pages["/collections.json"] = b"x"
    with pytest.raises(ExamplesUnreachable, match="compressed"):
        await source.offers()


async def test_redirects_are_followed_within_reason(service, source) -> None:
    service.pages["/collections.json"] = [(302, b"")] * 9
    service.headers = {"Location": "/collections.json"}
    with pytest.raises(ExamplesUnreachable, match="more than 3 redirects"):
        await source.offers()


async def test_private_addresses_are_opened_by_the_settings_alone(service, patience) -> None:
    closed = FetchPolicy.from_settings(Settings())
    async with Documents(service.url, closed, patience=patience) as documents:
        with pytest.raises(ExamplesUnreachable, match="SIGHTLINE_FETCH_ALLOW_NETWORKS opens"):
            await CollectionService(documents).offers()
    assert service.asked == []


async def test_a_redirect_cannot_lead_to_a_closed_address(service, source) -> None:
    service.pages["/collections.json"] = [(302, b"")]
    service.headers = {"Location": "http://169.254.169.254/latest/meta-data"}
    with pytest.raises(ExamplesUnreachable, match="may not be reached"):
        await source.offers()


@pytest.mark.parametrize("address", ["ftp://example.org", "http://", "http://user:word@example.org"])
def test_an_address_that_cannot_be_one_is_refused_at_once(policy, address: str) -> None:
    with pytest.raises(UrlRefused):
        Documents(address, policy)
