"""One answer of the search: whole, or an error, and never a short list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.errors import DocumentRefused, SearchFailed
from sightline.jobs.koop.archive.sru import Page, read_page
from sightline.jobs.koop.polite import BadDocument


def record(identifier: str) -> str:
    return (
        "<s:record><s:recordSchema>x</s:recordSchema><s:recordData><g:gzd xmlns:g='urn:g'><g:originalData>"
        f"<d:identifier xmlns:d='urn:d'>{identifier}</d:identifier><g:numberOfRecords>7</g:numberOfRecords>"
        "</g:originalData></g:gzd></s:recordData><s:recordPosition>1</s:recordPosition></s:record>"
    )


def answer(*records: str, number: object = 2, following: object = None, more: str = "") -> str:
    position = "" if following is None else f"<s:nextRecordPosition>{following}</s:nextRecordPosition>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<s:searchRetrieveResponse xmlns:s="http://docs.oasis-open.org/ns/search-ws/sruResponse">'
        f"<s:version>2.0</s:version><s:numberOfRecords>{number}</s:numberOfRecords>"
        f"<s:records>{''.join(records)}</s:records>{position}{more}</s:searchRetrieveResponse>\n"
    )


def identifiers(page: Page) -> list[str]:
    return [each.identifier for each in page.records]


WHOLE = answer(record("gmb-1"), record("gmb-2"), number=95, following=3).encode()


def test_a_page():
    page = read_page(WHOLE)
    assert identifiers(page) == ["gmb-1", "gmb-2"]
    assert (page.number_of_records, page.next_position, page.unreadable, page.length) == (95, 3, 0, 2)


def test_the_last_page_and_an_empty_result():
    assert read_page(answer(record("gmb-1"), number=1).encode()).next_position is None
    empty = "<searchRetrieveResponse><numberOfRecords>0</numberOfRecords>{}</searchRetrieveResponse>"
    assert read_page(empty.format("<records/>").encode()) == Page(0, (), None, 0)
    assert read_page(empty.format("").encode()) == Page(0, (), None, 0)


@pytest.mark.parametrize("namespace", ["http://www.loc.gov/zing/srw/", "urn:another", ""])
def test_namespaces_may_change(namespace):
    text = answer(record("gmb-1")).replace("http://docs.oasis-open.org/ns/search-ws/sruResponse", namespace)
    if not namespace:
        text = text.replace(' xmlns:s=""', "").replace("s:", "")
        text = text.replace("xmln", "xmlns:")  # of the records' own
    assert identifiers(read_page(text.encode())) == ["gmb-1"]


def test_records_that_cannot_be_read_are_counted():
    error = "<e:diagnostic xmlns:e='urn:e'><e:uri>x</e:uri></e:diagnostic>"
    error = f"<s:record><s:recordData>{error}</s:recordData></s:record>"
    nameless = record("gmb-1").replace("identifier", "other")
    page = read_page(answer(record("gmb-1"), error, nameless, "<s:record/>", number=4).encode())
    assert identifiers(page) == ["gmb-1"]
    assert (page.unreadable, page.length) == (3, 4)


@given(st.integers(0, len(WHOLE.rstrip()) - 1))
def test_a_page_cut_anywhere_is_no_page(length):
    with pytest.raises(BadDocument):
        read_page(WHOLE[:length])


@given(st.integers(0, len(WHOLE)), st.integers(1, 400))
def test_a_page_with_a_hole_is_never_a_shorter_list(start, length):
    try:
        page = read_page(WHOLE[:start] + WHOLE[start + length :])
    except (BadDocument, SearchFailed, DocumentRefused):
        return
    # What is left parses, so whole elements went, or characters between tags; the count then gives it away.
    assert page.length <= 2
    assert page.length == 2 or page.number_of_records > page.length


@pytest.mark.parametrize("number", ["", "many", "-1", "1.5", "9" * 30])
def test_a_page_without_a_count_is_no_page(number):
    with pytest.raises(BadDocument, match="number of records"):
        read_page(answer(record("gmb-1"), number=number).encode())


@pytest.mark.parametrize("following", ["", "soon", "-3"])
def test_a_next_position_that_is_none_is_none(following):
    assert read_page(answer(record("gmb-1"), following=following).encode()).next_position is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body><h1>503</h1></body></html>",
        b"<explainResponse><version>2.0</version></explainResponse>",
        b"<searchRetrieveResponse/>",
    ],
    ids=["empty", "web page", "explain", "nothing in it"],
)
def test_what_is_no_answer_may_be_asked_for_again(body):
    with pytest.raises(BadDocument):
        read_page(body)


def test_an_entity_bomb_is_refused_for_good():
    bomb = answer(record("gmb-1")).replace("?>", '?><!DOCTYPE x [<!ENTITY a "aaa"><!ENTITY b "&a;&a;">]>', 1)
    with pytest.raises(DocumentRefused):
        read_page(bomb.encode())


# -- diagnostics -------------------------------------------------------------------------------------------


def refusal(number: int | str, *, old: bool = False) -> bytes:
    inner = f"<e:uri>info:srw/diagnostic/1/{number}</e:uri>"
    inner += "<e:details>w.x</e:details><e:message>Onbekend</e:message>"
    if old:
        return (
            '<srw:searchRetrieveResponse xmlns:srw="http://www.loc.gov/zing/srw/" xmlns:e="urn:e">'
            f"<srw:numberOfRecords>0</srw:numberOfRecords><srw:diagnostics><e:diagnostic>{inner}</e:diagnostic>"
            "</srw:diagnostics></srw:searchRetrieveResponse>"
        ).encode()
    return (
        '<searchRetrieveResponse xmlns="urn:sru" xmlns:e="urn:e"><version>2.0</version><diagnostics>'
        f"<e:diagnostic>{inner}</e:diagnostic></diagnostics></searchRetrieveResponse>"
    ).encode()


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("number", [6, 7, 10, 16, 66, 48])
def test_a_diagnostic_is_an_error_even_beside_a_count_of_zero(number, old):
    with pytest.raises(SearchFailed, match=rf"\({number}\): Onbekend: w\.x") as caught:
        read_page(refusal(number, old=old))
    assert (caught.value.permanent, caught.value.diagnostic) == (True, number)


@pytest.mark.parametrize("number", [1, 2])
def test_some_diagnostics_pass(number):
    with pytest.raises(BadDocument, match=rf"\({number}\)"):
        read_page(refusal(number))


def test_out_of_range_is_told_apart():
    with pytest.raises(SearchFailed) as caught:
        read_page(refusal(61))
    assert (caught.value.permanent, caught.value.diagnostic) == (False, 61)


def test_a_diagnostic_without_a_number_is_an_error_too():
    with pytest.raises(SearchFailed, match="unnumbered") as caught:
        read_page(refusal("x"))
    assert caught.value.diagnostic is None


def test_a_diagnostic_beside_records_is_still_an_error():
    text = answer(
        record("gmb-1"),
        more="<s:diagnostics><s:diagnostic><s:message>half</s:message></s:diagnostic></s:diagnostics>",
    )
    with pytest.raises(SearchFailed, match="half"):
        read_page(text.encode())
