"""What the listeners demand of whoever connects: read at the start, and again with each reload."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from exporter.relay import tokens
from exporter.relay.tokens import Tokens
from exporter.transport.http.tls import ServerTls
from exporter.web import config as web_config
from exporter.web.config import WebConfig


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the files said."""

    tokens: Tokens | None = None
    """``None``: everybody may come in."""
    mcp_tls: ssl.SSLContext | None = None
    web: WebConfig | None = None
    web_tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class AccessFiles:
    """Which files say who may come in."""

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

    @property
    def guards_mcp(self) -> bool:
        """Whether a stranger is kept out of the MCP listener."""
        wants_certificate = (
            self.mcp_tls is not None and self.mcp_tls.client_auth is ssl.CERT_REQUIRED
        )
        return self.tokens is not None or wants_certificate


def _context(tls: ServerTls | None) -> ssl.SSLContext | None:
    return tls.context() if tls is not None else None


UNRESTRICTED = AccessFiles()
"""Everybody may come in, without TLS."""
