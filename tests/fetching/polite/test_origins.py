"""Which URLs may be asked for."""

from __future__ import annotations

import pytest

from sightline.errors import ConfigurationError, DocumentRefused
from sightline.jobs.koop.polite import PolitenessPolicy
from sightline.jobs.koop.polite.origins import Origin, admit, follow

ARCHIVE = Origin.parse("https://archive.example/sru")
PAGES = Origin.parse("https://pages.example")
LOCAL = Origin.parse("http://127.0.0.1:8099/sru")
LISTED = {ARCHIVE, PAGES, LOCAL}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("https://archive.example/sru?x=1", "https://archive.example"),
        ("https://ARCHIVE.example.", "https://archive.example"),
        ("https://archive.example:444/", "https://archive.example:444"),
        ("http://127.0.0.1:8099/sru", "http://127.0.0.1:8099"),
        ("http://[::1]:8099", "http://[::1]:8099"),
    ],
)
def test_an_origin_is_what_rates_belong_to(text, written):
    assert str(Origin.parse(text)) == written


@pytest.mark.parametrize(
    "text",
    [
        "http://archive.example",  # plain
        "http://10.0.0.1",
        "http://localhost:8000",  # a name, and whoever answers for it decides
        "ftp://archive.example",
        "archive.example",
        "https://user@archive.example",
        "",
    ],
)
def test_other_origins_are_a_mistake_in_the_settings(text):
    with pytest.raises(ConfigurationError):
        Origin.parse(text)


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://archive.example/a b.xml#part", "https://archive.example/a%20b.xml"),
        ("https://archive.example:443/a", "https://archive.example/a"),
        ("http://archive.example/a", "https://archive.example/a"),
        ("http://127.0.0.1:8099/a?b=1", "http://127.0.0.1:8099/a?b=1"),
    ],
)
def test_listed_hosts_are_asked_over_https(url, asked):
    assert str(admit(url, LISTED)) == asked


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/a",
        "https://archive.example.elsewhere.example/a",
        "https://archive.example@elsewhere.example/a",
        "https://archive.example:8443/a",
        "http://archive.example:8080/a",
        "http://127.0.0.1/a",
        "http://127.0.0.1:8098/a",
        "https://127.0.0.1:8099/a",
        "file:///etc/passwd",
        "//archive.example/a",
        "a.xml",
        "",
        "https://archive.example/\na",
    ],
)
def test_anything_else_is_refused(url):
    with pytest.raises(DocumentRefused):
        admit(url, LISTED)


def test_the_message_names_the_host_that_is_not_listed():
    with pytest.raises(DocumentRefused, match=r"https://elsewhere\.example is not on the list"):
        admit("https://elsewhere.example/a", LISTED)


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("b.xml", "https://archive.example/folder/b.xml"),
        ("/b.xml", "https://archive.example/b.xml"),
        ("https://pages.example/b", "https://pages.example/b"),
        ("http://archive.example/b", "https://archive.example/b"),
        ("", "https://archive.example/folder/a.xml"),
    ],
)
def test_redirects_stay_on_the_list(location, asked):
    assert str(follow(admit("https://archive.example/folder/a.xml", LISTED), location, LISTED)) == asked


@pytest.mark.parametrize(
    "location",
    ["https://elsewhere.example/", "http://127.0.0.1:8099/", "//elsewhere.example", "https://[", "data:,x"],
)
def test_redirects_elsewhere_are_refused(location):
    with pytest.raises(DocumentRefused):
        follow(admit("https://archive.example/folder/a.xml", LISTED), location, LISTED)


@pytest.mark.parametrize(
    "change",
    [
        {"contact": ""},
        {"contact": "two words"},
        {"contact": "https://example.org/\r\nX-Evil: 1"},
        {"contact": "https://example.org/(comment)"},
        {"rate_per_s": 2.0},
        {"floor_per_s": 0.0},
        {"rate_per_s": 0.05},
        {"burst": 0.5},
        {"attempts": 0},
        {"concurrent": 0},
        {"decrease": 1.0},
    ],
)
def test_an_unusable_policy_is_refused(change):
    with pytest.raises(ConfigurationError):
        PolitenessPolicy(**{"contact": "https://example.org/about", **change})


@pytest.mark.parametrize("contact", ["https://example.org/about", "mailto:us@example.org", "us@example.org"])
def test_the_contact_is_in_the_user_agent(contact):
    assert PolitenessPolicy(contact).user_agent.endswith(f" (+{contact})")
