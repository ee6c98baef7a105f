"""XML that is cut, bombed, or a web page in disguise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.errors import DocumentRefused
from sightline.jobs.koop.archive.markup import children, first_text, local_name, named, parse, texts
from sightline.jobs.koop.polite import BadDocument

WHOLE = '<?xml version="1.0" encoding="UTF-8"?>\n<a xmlns:p="urn:p"><p:b>één  <i>twee</i>\n</p:b><b/></a>\n'
DATA = WHOLE.encode()


def test_elements_are_known_by_their_local_names():
    root = parse(DATA, "a")
    assert texts(root, "b") == ["één twee"]
    assert (first_text(root, "b"), first_text(root, "c")) == ("één twee", None)
    assert [local_name(each) for each in named(root, "b")] == ["b", "b"]
    assert len(children(root, "b")) == 2
    assert children(root, "i") == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "iso-8859-1"])
def test_a_document_says_its_own_encoding(encoding):
    declared = {"utf-8-sig": "UTF-8", "utf-16": "UTF-16"}.get(encoding, encoding)
    data = WHOLE.replace("UTF-8", declared).encode(encoding)
    assert first_text(parse(data, "a"), "b") == "één twee"


def test_the_roots_name_is_asked_for_without_regard_to_case():
    assert local_name(parse(b"<A/>", "a")) == "A"
    assert local_name(parse(b"<anything/>")) == "anything"


@given(st.integers(0, len(DATA.rstrip()) - 1))
def test_no_beginning_of_a_document_is_a_document(length):
    with pytest.raises(BadDocument):
        parse(DATA[:length], "a")


@given(st.binary(max_size=300))
def test_noise_is_refused_and_nothing_else_happens(data):
    with pytest.raises((BadDocument, DocumentRefused)):
        parse(data, "searchRetrieveResponse")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b" \r\n", "empty"),
        (b"<html><body>Sorry<br></body>", "web page"),
        (b"<!DOCTYPE html>\n<html><head><meta charset=utf-8>", "web page"),
        (b"<html xmlns='http://www.w3.org/1999/xhtml'><body/></html>", "<html> instead of a <a>"),
        (b"<a>\xff\xfe</a>", "no whole XML"),
        (b'{"error": 1}', "no whole XML"),
        (b"<a/><a/>", "no whole XML"),
    ],
)
def test_what_is_said_of_other_things(data, says):
    with pytest.raises(BadDocument, match=says):
        parse(data, "a")


BOMB = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;">]><a>&y;</a>'


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>',
        '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x.dtd"> %x;]><a/>',
        "<!DOCTYPE a [<!\n  entity x 'y'><!ENTITY x 'y'>]><a/>",
    ],
    ids=["bomb", "file", "parameter entity", "unused"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_for_good(text, encoding, tmp_path):
    with pytest.raises((DocumentRefused, BadDocument)) as caught:
        parse(text.encode(encoding), "a")
    if encoding == "utf-8":
        assert caught.type is DocumentRefused


def test_a_document_type_without_entities_is_taken():
    data = b'<!DOCTYPE a PUBLIC "-//X//DTD a//NL" "http://127.0.0.1:9/a.dtd"><a>text</a>'
    assert parse(data, "a").text == "text"


def test_depth_has_a_bound():
    with pytest.raises(BadDocument):
        parse(b"<a>" * 5000 + b"</a>" * 5000, "a")
