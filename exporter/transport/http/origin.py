"""Which names a listener may be addressed by, and which web pages may use it.

A web page can send its visitor's browser to any address that the browser reaches. What the
browser then says of itself is all that tells a page from a program: ``Host``, ``Origin``
(RFC 6454) and ``Sec-Fetch-Site`` (Fetch Metadata). A page whose own name was made to point here
(DNS rebinding) has an ``Origin`` that fits its ``Host``, so that the name itself must be known.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from exporter.transport.http.request import Request

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::([0-9]{0,5}))?")
_ORIGIN = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://(.+)")
_HIGHEST_PORT = 65535


def host_name(value: bytes) -> str | None:
    """The name or address in a ``Host``, in lower case and without brackets; ``None`` where it
    breaks the grammar (RFC 9110, section 7.2)."""
    match = _HOST.fullmatch(value)
    if match is None or int(match[2] or 0) > _HIGHEST_PORT:
        return None
    return match[1].decode().lower().strip("[]").removesuffix(".")


def origin_host(origin: bytes) -> str | None:
    """The host of an ``Origin``; ``None`` where it has none, as ``null`` and ``file://``."""
    match = _ORIGIN.fullmatch(origin)
    return host_name(match[2]) or None if match is not None else None


def is_loopback_name(host: str) -> bool:
    """Whether a name or address always means the machine that uses it."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_followed_link(request: Request) -> bool:
    """Whether a person followed a link of another page, which cannot read what comes of it."""
    return (
        request.method == b"GET"
        and request.header(b"sec-fetch-mode") == b"navigate"
        and request.header(b"sec-fetch-dest") == b"document"
        and request.header(b"sec-fetch-user") == b"?1"
    )


@dataclass(frozen=True, slots=True)
class OriginPolicy:
    """The checks of one listener."""

    is_loopback: bool
    """Whether the listener can be reached from this machine alone."""
    is_guarded: bool = False
    """Whether a token, a password or a certificate is demanded, which no foreign page has."""
    hosts: frozenset[str] = frozenset()
    """Further names that lead here, in lower case and without a port."""
    origins: frozenset[str] = frozenset()
    """Pages of other hosts that may use the listener: ``https://app.example``."""
    has_pages: bool = False
    """Whether it serves pages for people, which a dashboard may link to."""

    def allows(self, request: Request) -> bool:
        """Whether no foreign page can be behind a request."""
        value = request.header(b"host")
        host = host_name(value) if value is not None else None
        if value is not None and (host is None or not self._allows_host(host)):
            return False
        origin = request.header(b"origin")
        if origin is None:
            is_foreign = request.header(b"sec-fetch-site") == b"cross-site"
            return not is_foreign or (self.has_pages and is_followed_link(request))
        return self._allows_origin(origin, host)

    def _allows_host(self, host: str) -> bool:
        if is_loopback_name(host) or host in self.hosts:
            return True
        # A literal address is none that a page could have had rebound.
        return not self.is_loopback and (self.is_guarded or _is_address(host))

    def _allows_origin(self, origin: bytes, host: str | None) -> bool:
        if origin.decode("latin-1").lower() in self.origins:
            return True
        source = origin_host(origin)
        if source is None:
            return False
        if source == host or source in self.hosts:
            return True
        is_here = self.is_loopback or (host is not None and is_loopback_name(host))
        return is_here and is_loopback_name(source)


LOCAL = OriginPolicy(is_loopback=True)
"""A listener on loopback that has no other name."""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
