"""The flags that say who may come in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from exporter.cli.flags import Flags
from exporter.config.errors import ConfigError

if TYPE_CHECKING:
    from exporter.access import AccessFiles


def add(flag: Flags) -> None:
    """Add them to a command."""
    flag.file("--mcp.token-file", "the bearer tokens that let clients in: lines of NAME: TOKEN")
    flag.file("--mcp.tls-cert-file", "the certificate of the MCP listener, which then speaks TLS")
    flag.file("--mcp.tls-key-file", "the key of that certificate")
    flag.file("--mcp.tls-client-ca-file", "whose certificates clients must present")
    flag.file("--web.config.file", "TLS and passwords of the scrape listener, as Prometheus has it")


def read(given: Mapping[str, Any]) -> AccessFiles:
    """The files that they name. Raises ``ConfigError``."""
    from exporter.access import AccessFiles
    from exporter.transport.http import tls

    pair = given["mcp.tls_cert_file"], given["mcp.tls_key_file"]
    return AccessFiles(
        tokens=given["mcp.token_file"],
        mcp_tls=tls.from_flags(*pair, given["mcp.tls_client_ca_file"]),
        web=given["web.config.file"],
    )


def check(host: str, *, is_loopback: bool, is_guarded: bool) -> None:
    """Refuse to listen where strangers could call every tool. Raises ``ConfigError``."""
    if not is_loopback and not is_guarded:
        raise ConfigError(
            f"--mcp.listen-address: {host} can be reached from other machines, which could then "
            "call every tool; listen on 127.0.0.1, give the clients tokens (--mcp.token-file) or "
            "certificates (--mcp.tls-client-ca-file), or pass --mcp.allow-unauthenticated"
        )
