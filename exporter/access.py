"""What the listeners demand of whoever connects: read at the start, and again with each reload."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from exporter import tokens
from exporter.tls import ServerTls
from exporter.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the files said."""

    tokens: Tokens | None = None
    """``None``: everybody may come in."""
    mcp_tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class AccessFiles:
    """Which files say who may come in."""

    tokens: Path | None = None
    mcp_tls: ServerTls | None = None

    def read(self) -> Credentials:
        """What they say now. Raises ``ConfigError``."""
        return Credentials(
            tokens=tokens.load(self.tokens) if self.tokens is not None else None,
            mcp_tls=self.mcp_tls.context() if self.mcp_tls is not None else None,
        )

    @property
    def guards_mcp(self) -> bool:
        """Whether a stranger is kept out of the MCP listener."""
        wants_certificate = (
            self.mcp_tls is not None and self.mcp_tls.client_auth is ssl.CERT_REQUIRED
        )
        return self.tokens is not None or wants_certificate


NOBODY_ASKED = AccessFiles()
"""Everybody may come in, without TLS."""
