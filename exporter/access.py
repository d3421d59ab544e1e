"""What the listeners demand of their clients: read at the start, and again with each reload."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from exporter.relay import tokens
from exporter.relay.tokens import Tokens
from exporter.transport.http.origin import OriginPolicy, is_loopback_name
from exporter.transport.http.tls import ServerTls
from exporter.web import config as web_config
from exporter.web.config import WebConfig


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the files said."""

    tokens: Tokens | None = None
    """``None``: no token is demanded."""
    mcp_tls: ssl.SSLContext | None = None
    web: WebConfig | None = None
    web_tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class AccessFiles:
    """The files with tokens, certificates and passwords."""

    tokens: Path | None = None
    mcp_tls: ServerTls | None = None
    web: Path | None = None
    """In the format of Prometheus' exporter-toolkit."""

    def read(self) -> Credentials:
        """What they say now. Raises ``ConfigError``."""
        web = web_config.load(self.web) if self.web is not None else None
        return Credentials(
            tokens=tokens.load(self.tokens) if self.tokens is not None else None,
            mcp_tls=_context(self.mcp_tls),
            web=web,
            web_tls=_context(web.tls) if web is not None else None,
        )

    def paths(self, web: WebConfig | None) -> tuple[Path, ...]:
        """All files that are read; ``web`` is what was read of the web configuration."""
        found = [path for path in (self.tokens, self.web) if path is not None]
        for tls in (self.mcp_tls, web.tls if web is not None else None):
            if tls is not None:
                found += [tls.cert_file, tls.key_file]
                found += [tls.client_ca_file] if tls.client_ca_file is not None else []
        return tuple(found)

    @property
    def guards_mcp(self) -> bool:
        """Whether the MCP listener demands a token or a certificate."""
        wants_certificate = (
            self.mcp_tls is not None and self.mcp_tls.client_auth is ssl.CERT_REQUIRED
        )
        return self.tokens is not None or wants_certificate


@dataclass(frozen=True, slots=True)
class AllowedNames:
    """By which further names the listeners are addressed, and which pages may use them."""

    mcp_hosts: frozenset[str] = frozenset()
    mcp_origins: frozenset[str] = frozenset()
    web_hosts: frozenset[str] = frozenset()

    def mcp_policy(self, host: str, external_url: str | None, *, is_guarded: bool) -> OriginPolicy:
        """Which hosts and origins the MCP listener, bound to ``host``, accepts."""
        return OriginPolicy(
            is_loopback=is_loopback_name(host),
            is_guarded=is_guarded,
            hosts=self.mcp_hosts | _own(external_url),
            origins=self.mcp_origins,
        )

    def web_policy(self, host: str, external_url: str | None) -> OriginPolicy:
        """The same of the scrape listener, where no password is demanded."""
        return OriginPolicy(
            is_loopback=is_loopback_name(host),
            hosts=self.web_hosts | _own(external_url),
            has_pages=True,
        )


def _own(external_url: str | None) -> frozenset[str]:
    host = urlsplit(external_url or "").hostname
    return frozenset({host} if host else ())


def _context(tls: ServerTls | None) -> ssl.SSLContext | None:
    return tls.context() if tls is not None else None


UNRESTRICTED = AccessFiles()
"""No authentication, no TLS."""
