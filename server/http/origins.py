"""Checks that a request is meant for this server and does not come from a page of another site.

A web page open in the same browser can send requests to this server: to its address, in which case the
browser adds the page's origin, or by a name of the attacker's that resolves here (DNS rebinding). Origin,
Referer and Sec-Fetch-Site reveal the first, Host the second: an address cannot be redirected, a name can.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers

_LOOPBACK = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(\d{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Site:
    """A name or address and a port; port "" is the scheme's default (80, 443)."""

    name: str
    port: str

    @property
    def is_address(self) -> bool:
        try:
            ipaddress.ip_address(self.name)
        except ValueError:
            return False
        return True


def site_of(text: str, scheme: str = "") -> Site | None:
    """Parse a Host header or the host of an origin; None when it is malformed."""
    match = _HOST.fullmatch(text.strip())
    if match is None:
        return None
    name, port = match[1].strip("[]").rstrip(".").lower(), match[2] or ""
    default = (_DEFAULT_PORTS[scheme],) if scheme in _DEFAULT_PORTS else _DEFAULT_PORTS.values()
    return Site(name, "" if port in default else port)


def site_of_url(text: str) -> Site | None:
    """Return the site of an origin or referring page; None for `null` and anything but a web address."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return site_of(parts.netloc, parts.scheme) if parts.scheme in _DEFAULT_PORTS else None


class Origins:
    """The names and origins that the server accepts.

    :param allowed: names of the setting `allowed_hosts`, each with or without a port
    :param origins: origins of other sites whose pages may use the server (MONAI_LABEL_CORS_ORIGINS)

    Raises ValueError for an invalid name.
    """

    def __init__(self, allowed: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._allowed = {_parse_allowed(text) for text in allowed}
        self._origins = {site for text in origins if (site := site_of_url(text))}
        self._own = {*_LOOPBACK, socket.gethostname().lower(), socket.getfqdn().lower()}

    def check(self, method: str, headers: Headers) -> None:
        """Refuse a request for another host or from another site. Raises HTTPException 400, 403."""
        host = self._host(headers.getlist("host"))
        source = headers.get("origin")
        if source is None and method not in _SAFE:
            source = headers.get("referer")
        if source is None:
            self._check_fetch(headers)
        elif not self._is_friend(site_of_url(source), host):
            raise HTTPException(403, _foreign_page(source))

    def _host(self, given: Sequence[str]) -> Site:
        host = site_of(given[0]) if len(given) == 1 else None
        if host is None:
            raise HTTPException(400, "the request has no valid Host header")
        if host.is_address or host.name in self._own or self._is_allowed(host):
            return host
        raise HTTPException(
            403,
            f"this server does not answer to the name {host.name!r}: use its address, or start it with "
            f"--conf allowed_hosts {host.name}",
        )

    def _is_allowed(self, site: Site) -> bool:
        return site in self._allowed or Site(site.name, "*") in self._allowed

    def _is_friend(self, source: Site | None, host: Site) -> bool:
        return source is not None and (source == host or self._is_allowed(source) or source in self._origins)

    @staticmethod
    def _check_fetch(headers: Headers) -> None:
        """Refuse requests that the browser marks as made by a page of another site, even for a picture."""
        is_foreign = headers.get("sec-fetch-site", "none") in ("cross-site", "same-site")
        if is_foreign and headers.get("sec-fetch-mode") != "navigate":
            raise HTTPException(403, _foreign_page("another site"))


def _parse_allowed(text: str) -> Site:
    site = site_of(text)
    if site is None:
        raise ValueError(f"{text!r}: give a host name, with or without :port")
    return site if ":" in text.rpartition("]")[2] else Site(site.name, "*")


def _foreign_page(source: str) -> str:
    return (
        f"a page of {source[:200]} may not use this server; if this is the server's own page behind a proxy, "
        "start the server with --conf allowed_hosts and the proxy's name"
    )
