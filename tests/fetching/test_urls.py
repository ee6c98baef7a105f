"""Which URLs may be asked for, and the request that is built from them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.errors import UrlRefused
from sightline.fetching.urls import MAX_CHARACTERS, FetchUrl

PORTS = (80, 443)


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "target"),
    [
        ("http://photos.example/cat.jpg", "photos.example", 80, "photos.example", "/cat.jpg"),
        ("HTTPS://Photos.Example", "photos.example", 443, "photos.example", "/"),
        ("http://photos.example:443/", "photos.example", 443, "photos.example:443", "/"),
        ("http://photos.example:/a", "photos.example", 80, "photos.example", "/a"),
        ("http://photos.example?size=1#top", "photos.example", 80, "photos.example", "/?size=1"),
        ("http://photos.example/a#b@c:9/d", "photos.example", 80, "photos.example", "/a"),
        ("http://photos.example/x@y:z", "photos.example", 80, "photos.example", "/x@y:z"),
        ("http://photos.example./a", "photos.example.", 80, "photos.example", "/a"),
        ("  http://photos.example/a b.jpg ", "photos.example", 80, "photos.example", "/a%20b.jpg"),
        ("http://photos.example/ä%20b?q=ö", "photos.example", 80, "photos.example", "/%C3%A4%20b?q=%C3%B6"),
        ("http://[2001:DB8::1]/", "2001:db8::1", 80, "[2001:db8::1]", "/"),
        ("http://[2001:db8::1]:443/", "2001:db8::1", 443, "[2001:db8::1]:443", "/"),
        ("http://[fe80::1%25eth0]/", "fe80::1%eth0", 80, "[fe80::1]", "/"),
        ("http://bücher.example/", "xn--bcher-kva.example", 80, "xn--bcher-kva.example", "/"),
        ("http://straße.example/", "xn--strae-oqa.example", 80, "xn--strae-oqa.example", "/"),
        ("http://１２７.０.０.１/", "127.0.0.1", 80, "127.0.0.1", "/"),
        ("http://a。b/", "a.b", 80, "a.b", "/"),
        ("http://under_score.example/", "under_score.example", 80, "under_score.example", "/"),
    ],
)
def test_taken_apart(url: str, host: str, port: int, authority: str, target: str) -> None:
    parsed = FetchUrl.parse(url, PORTS)
    assert (parsed.host, parsed.port, parsed.authority, parsed.target) == (host, port, authority, target)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("", "http and https"),
        ("photos.example/cat.jpg", "http and https"),
        ("//photos.example/cat.jpg", "http and https"),
        ("file:///etc/passwd", "http and https"),
        ("ftp://photos.example/", "http and https"),
        ("data:image/png;base64,AAAA", "http and https"),
        ("gopher://photos.example:80/", "http and https"),
        ("http://user@photos.example/", "user name"),
        ("http://user:secret@photos.example/", "user name"),
        ("http://photos.example\\@127.0.0.1/", "user name"),
        ("http://@photos.example/", "user name"),
        ("http://photos.example:22/", "allowed ports: 80, 443"),
        ("http://photos.example:0/", "allowed ports: 80, 443"),
        ("http://photos.example:99999/", "allowed ports: 80, 443"),
        ("http://photos.example:8o/", "well-formed"),
        ("http://photos.example:-80/", "well-formed"),
        ("http://photos.example:٨٠/", "well-formed"),
        ("http://photos.example:" + "9" * 5000, "well-formed"),
        ("http://a:80:80/", "well-formed"),
        ("http://[::1/", "well-formed"),
        ("http://[::1]evil/", "well-formed"),
        ("http://evil[::1]/", "well-formed"),
        ("http://\ud800.example/", "well-formed"),
        ("http://photos.example/\udfff", "well-formed"),
        ("http:///cat.jpg", "no host"),
        ("http:/photos.example", "no host"),
        ("http://:80/", "no host"),
        ("http://photos.example\\.evil/", "host name"),
        ("http://photos..example/", "host name"),
        ("http://.photos.example/", "host name"),
        ("http://photos%2eexample/", "host name"),
        ("http://photos example/", "host name"),
        ("http://" + "a" * 64 + ".example/", "host name"),
        ("http://" + "a." * 127 + "a/", "host name"),
        ("http://" + "ü" * 4000 + "/", "host name"),
        ("http://☃\u200d.example/", "host name"),
        ("http://photos.example/\r\nHost: evil", "control"),
        ("http://pho\ttos.example/", "control"),
        ("\nhttp://photos.example/", "control"),
        ("http://photos.example/\x00", "control"),
        ("http://photos.example/" + "a" * MAX_CHARACTERS, "longer than 8192"),
    ],
)
def test_refused_by_name_of_the_rule(url: str, rule: str) -> None:
    with pytest.raises(UrlRefused, match=rule) as refusal:
        FetchUrl.parse(url, PORTS)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/b?c", "https://photos.example/b?c"),
        ("b", "https://photos.example/dir/b"),
        ("../b", "https://photos.example/b"),
        ("?c", "https://photos.example/dir/a?c"),
        ("//other.example/x", "https://other.example/x"),
        ("https://other.example:80/x#frag", "https://other.example:80/x"),
        ("ä b", "https://photos.example/dir/%C3%A4%20b"),
    ],
)
def test_redirects_are_resolved(location: str, expected: str) -> None:
    start = FetchUrl.parse("https://photos.example/dir/a", PORTS)
    assert str(start.redirect(location, PORTS)) == expected


@pytest.mark.parametrize(
    ("location", "rule"),
    [
        ("http://photos.example/", "from https to http"),
        ("file:///etc/passwd", "http and https"),
        ("//user@photos.example/", "user name"),
        ("//photos.example:22/", "allowed ports"),
        ("https://[::1/", "well-formed"),
        ("javascript:alert(1)", "http and https"),
    ],
)
def test_redirects_obey_the_same_rules(location: str, rule: str) -> None:
    start = FetchUrl.parse("https://photos.example/dir/a", PORTS)
    with pytest.raises(UrlRefused, match=rule):
        start.redirect(location, PORTS)


_URL_LIKE = st.text(
    st.sampled_from("htps:/@[]%\\?#.&=aZ0189xé。 ²\t\x00-_~!$,;'\"<>^`{|}\ud800"), max_size=40
)


@settings(deadline=None)
@given(st.one_of(st.text(max_size=60), _URL_LIKE, _URL_LIKE.map("http://".__add__)))
def test_what_is_accepted_is_safe_to_write_into_a_request(url: str) -> None:
    try:
        parsed = FetchUrl.parse(url, PORTS)
    except UrlRefused:
        return
    assert parsed.scheme in ("http", "https")
    assert parsed.port in PORTS
    assert re.fullmatch(r"[a-z0-9._:%~-]+", parsed.host)
    assert re.fullmatch(r"[a-z0-9._:\[\]-]+", parsed.authority)
    assert re.fullmatch(r"/[!-~]*", parsed.target)
    assert "#" not in parsed.target
    assert FetchUrl.parse(str(parsed), PORTS).target == parsed.target  # encoding twice changes nothing
