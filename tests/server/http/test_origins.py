"""Hosts and origins that the gate accepts and refuses."""

from __future__ import annotations

import pytest
from fastapi import HTTPException
from starlette.datastructures import Headers

from server.http.origins import Origins, Site, site_of, site_of_url


def status(origins: Origins, method: str, *headers: tuple[str, str]) -> int:
    """Return the status of a request with these headers: 200 when it is let through."""
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    try:
        origins.check(method, Headers(raw=raw))
    except HTTPException as error:
        return error.status_code
    return 200


@pytest.mark.parametrize(
    ("text", "scheme", "site"),
    [
        ("127.0.0.1", "", Site("127.0.0.1", "")),
        ("127.0.0.1:8000", "", Site("127.0.0.1", "8000")),
        ("[::1]:8000", "", Site("::1", "8000")),
        ("LocalHost.:80", "", Site("localhost", "")),
        ("a.example:443", "https", Site("a.example", "")),
        ("a.example:443", "http", Site("a.example", "443")),
        ("user@a.example", "", None),
        ("a.example/x", "", None),
        ("a b", "", None),
        ("", "", None),
        ("a:b", "", None),
        ("evil\u0000", "", None),
    ],
)
def test_hosts_are_read(text: str, scheme: str, site: Site | None) -> None:
    assert site_of(text, scheme) == site


def test_origins_are_read() -> None:
    assert (
        site_of_url("https://a.example")
        == site_of_url("https://a.example:443/page?x")
        == Site("a.example", "")
    )
    for text in ("null", "file:///x", "", "javascript:x", "http://[::1", "data:,x", "http://a@127.0.0.1"):
        assert site_of_url(text) is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.168.1.20:8000", 200),
        ("[fe80::1]:8000", 200),
        ("localhost", 200),
        ("label.hospital.org", 200),
        ("label.hospital.org:9000", 200),
        ("ported.hospital.org:8443", 200),
        ("ported.hospital.org:8444", 403),
        ("ported.hospital.org", 403),
        ("evil.label.hospital.org", 403),
        ("label.hospital.org.evil.example", 403),
        ("127.1", 403),  # no browser sends it, and no address as the standard writes it
        ("2130706433", 403),
        ("0x7f000001", 403),
        ("127.0.0.1@evil.example", 400),
        ("", 400),
    ],
)
def test_hosts(host: str, expected: int) -> None:
    origins = Origins(["label.hospital.org", "ported.hospital.org:8443"])
    assert status(origins, "GET", ("Host", host)) == expected


def test_two_hosts_or_none_are_refused() -> None:
    origins = Origins()
    assert status(origins, "GET") == 400
    assert status(origins, "GET", ("Host", "127.0.0.1"), ("Host", "127.0.0.1")) == 400


HOST = ("Host", "127.0.0.1:8000")


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("POST", [], 200),  # Slicer, the Python client
        ("POST", [("Origin", "http://127.0.0.1:8000")], 200),
        ("POST", [("Origin", "http://127.0.0.1:8001")], 403),
        ("POST", [("Origin", "https://127.0.0.1")], 403),
        ("POST", [("Origin", "http://localhost:8000")], 403),
        ("GET", [("Origin", "http://localhost:8000")], 403),
        ("POST", [("Origin", "https://proxy.example")], 200),
        ("POST", [("Origin", "https://friend.example:444")], 200),
        ("POST", [("Origin", "https://friend.example")], 403),
        ("POST", [("Origin", "null"), ("Referer", "http://127.0.0.1:8000/")], 403),
        ("POST", [("Referer", "http://127.0.0.1:8000/selection/map")], 200),
        ("POST", [("Referer", "http://evil.example/")], 403),
        ("GET", [("Referer", "http://evil.example/")], 200),  # somebody followed a link
        ("GET", [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")], 200),
        ("GET", [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")], 403),
        ("GET", [("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "no-cors")], 403),
        ("GET", [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "cors")], 200),
        ("GET", [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate")], 200),
    ],
)
def test_pages(method: str, headers: list[tuple[str, str]], expected: int) -> None:
    origins = Origins(["proxy.example"], ["https://friend.example:444"])
    assert status(origins, method, HOST, *headers) == expected


@pytest.mark.parametrize("name", ["a b", "https://a.example", "a/b", ""])
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="host name"):
        Origins([name])
