"""Whether a request was meant for this server, and comes from no page of another site.

A page that somebody opens in the same browser can send requests to this server: to its address, which the
browser marks with the page's origin, or by a name of its own that it lets point here (DNS rebinding). The
first is told by Origin, Referer and Sec-Fetch-Site, the second by Host: an address cannot be pointed
elsewhere, a name can.
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
    """A name or address and a port; port "" is the scheme's own (80, 443)."""

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
    """What a Host header or the host of an origin says; None when it is malformed."""
    found = _HOST.fullmatch(text.strip())
    if found is None:
        return None
    name, port = found[1].strip("[]").rstrip(".").lower(), found[2] or ""
    default = (_DEFAULT_PORTS[scheme],) if scheme in _DEFAULT_PORTS else _DEFAULT_PORTS.values()
    return Site(name, "" if port in default else port)


def site_of_url(text: str) -> Site | None:
    """The site of an origin or a referring page; None for `null` and what is no web address."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return site_of(parts.netloc, parts.scheme) if parts.scheme in _DEFAULT_PORTS else None


class Origins:
    """What the server answers to.

    :param allowed: names of the setting `allowed_hosts`, each with or without a port
    :param origins: origins of other sites whose pages may use the server (MONAI_LABEL_CORS_ORIGINS)

    Raises ValueError for a name that is none.
    """

    def __init__(self, allowed: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._allowed = {_named(text) for text in allowed}
        self._origins = {site for text in origins if (site := site_of_url(text))}
        self._own = {*_LOOPBACK, socket.gethostname().lower(), socket.getfqdn().lower()}

    def check(self, method: str, headers: Headers) -> None:
        """Refuse what was not meant for this server or is another site's. Raises HTTPException 400, 403."""
        host = self._host(headers.getlist("host"))
        source = headers.get("origin")
        if source is None and method not in _SAFE:
            source = headers.get("referer")
        if source is None:
            self._check_fetch(headers)
        elif not self._is_friend(site_of_url(source), host):
            raise HTTPException(403, _other_page(source))

    def _host(self, given: Sequence[str]) -> Site:
        host = site_of(given[0]) if len(given) == 1 else None
        if host is None:
            raise HTTPException(400, "the request names no host that can be read (header Host)")
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
        """A browser says of each request, be it of a picture in a page, which site's page made it."""
        other = headers.get("sec-fetch-site", "none") in ("cross-site", "same-site")
        if other and headers.get("sec-fetch-mode") != "navigate":
            raise HTTPException(403, _other_page("another site"))


def _named(text: str) -> Site:
    site = site_of(text)
    if site is None:
        raise ValueError(f"{text!r}: a host name is expected, with or without :port")
    return site if ":" in text.rpartition("]")[2] else Site(site.name, "*")


def _other_page(source: str) -> str:
    return (
        f"a page of {source[:200]} may not use this server; when it is its own page behind a proxy, "
        "start the server with --conf allowed_hosts and the proxy's name"
    )
