"""The flags of authentication: tokens, certificates, allowed hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from exporter.cli.flags import Flags
from exporter.config.errors import ConfigError

if TYPE_CHECKING:
    from exporter.access import AccessFiles, AllowedNames


def add(flag: Flags) -> None:
    """Add them to a command."""
    flag.file("--mcp.token-file", "the bearer tokens of clients: lines of NAME: TOKEN")
    flag.file("--mcp.tls-cert-file", "the certificate of the MCP listener, which then speaks TLS")
    flag.file("--mcp.tls-key-file", "the key of that certificate")
    flag.file("--mcp.tls-client-ca-file", "whose certificates clients must present")
    flag(
        "--mcp.allowed-hosts",
        "",
        "further names by which clients address the MCP listener, with commas",
        "HOSTS",
    )
    flag(
        "--mcp.allowed-origins",
        "",
        "web pages of other hosts that may call, such as https://app.example.com, with commas",
        "ORIGINS",
    )
    flag(
        "--web.allowed-hosts",
        "",
        "further names by which the scrape listener is addressed, with commas",
        "HOSTS",
    )
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


def names(given: Mapping[str, Any]) -> AllowedNames:
    """The names that they allow. Raises ``ConfigError``."""
    from exporter.access import AllowedNames

    return AllowedNames(
        mcp_hosts=_hosts("--mcp.allowed-hosts", given["mcp.allowed_hosts"]),
        mcp_origins=_origins("--mcp.allowed-origins", given["mcp.allowed_origins"]),
        web_hosts=_hosts("--web.allowed-hosts", given["web.allowed_hosts"]),
    )


def _hosts(flag: str, text: str) -> frozenset[str]:
    from exporter.transport.http.origin import host_name

    wanted = _items(text)
    for host in wanted:
        if host_name(host.encode()) != host or ":" in host:
            raise ConfigError(
                f"{flag}: {host!r} is not the name of a host; give names without a port, "
                "such as mcp.example.com,exporter"
            )
    return wanted


def _origins(flag: str, text: str) -> frozenset[str]:
    from exporter.transport.http.origin import origin_host

    wanted = _items(text)
    for origin in wanted:
        if origin_host(origin.encode()) is None:
            raise ConfigError(
                f"{flag}: {origin!r} is not an origin; give scheme and host, and the port where "
                "it is not the usual one, such as https://app.example.com:8443"
            )
    return wanted


def _items(text: str) -> frozenset[str]:
    return frozenset(item.strip().lower() for item in text.split(",") if item.strip())


def check(host: str, *, is_loopback: bool, is_guarded: bool) -> None:
    """Raise ``ConfigError`` for an address where anybody could call every tool."""
    if not is_loopback and not is_guarded:
        raise ConfigError(
            f"--mcp.listen-address: {host} can be reached from other machines, which could then "
            "call every tool; listen on 127.0.0.1, give the clients tokens (--mcp.token-file) or "
            "certificates (--mcp.tls-client-ca-file), or pass --mcp.allow-unauthenticated"
        )
