"""Both listeners, MCP's and the scrape's: where they listen, their limits, whom they accept."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from exporter.access import AccessFiles, Credentials
from exporter.config.errors import ConfigError
from exporter.config.model import Limits
from exporter.relay.gateway import Gateway
from exporter.transport.http.parser import ListenerLimits
from exporter.transport.http.server import HttpServer
from exporter.web.server import Web, WebThread


class Listeners:
    """Opens, renews and closes the two."""

    def __init__(
        self,
        gateway: Gateway,
        mcp: HttpServer,
        web: WebThread,
        files: AccessFiles,
        credentials: Credentials,
    ) -> None:
        """``credentials`` is what the files said when they were read first."""
        self._gateway = gateway
        self._files = files
        self._credentials = credentials
        self.mcp = mcp
        self.web = web
        self.mcp_url = ""
        """Where it listens, once it does."""

    async def open_mcp(self, host: str, port: int) -> str:
        """Listen for clients; returns the URL. Raises ``ConfigError``."""
        tls = self._credentials.mcp_tls
        try:
            self.mcp_url = _url(await self.mcp.open(host, port, tls), tls)
            return self.mcp_url
        except OSError as error:
            raise taken("--mcp.listen-address", host, port, error) from None

    def open_web(self, pages: Web, host: str, port: int) -> str:
        """Listen for scrapes; returns the URL. Raises ``ConfigError``."""
        credentials, tls = self._credentials, self._credentials.web_tls
        try:
            return _url(self.web.open(pages, host, port, credentials.web, tls), tls)
        except OSError as error:
            raise taken("--web.listen-address", host, port, error) from None

    def mcp_url_for(self, host: str) -> str:
        """The URL of the MCP listener for who reaches this machine by ``host``."""
        parts = urlsplit(self.mcp_url)
        if ipaddress.ip_address(parts.hostname or "::1").is_unspecified:
            return f"{parts.scheme}://{_bracketed(host)}:{parts.port}"
        return self.mcp_url

    def apply_limits(self, limits: Limits) -> None:
        """Bound both from now on."""
        self.mcp.limits = listener_limits(limits)
        self._gateway.admission.apply(limits)

    def paths(self) -> tuple[Path, ...]:
        """The files with tokens, certificates and passwords."""
        return self._files.paths(self._credentials.web)

    def prepare(self) -> Callable[[], None]:
        """Read the files of authentication; what is returned applies them.

        Raises ``ConfigError``.
        """
        return partial(self._put_into_force, self._files.read())

    def _put_into_force(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._gateway.tokens = credentials.tokens
        if self._files.web is not None:
            self.web.renew(credentials.web, credentials.web_tls)
        if credentials.mcp_tls is not None:
            self.mcp.renew(credentials.mcp_tls)


def listener_limits(limits: Limits) -> ListenerLimits:
    """What the configuration's limits mean for the MCP listener."""
    return ListenerLimits(
        head_bytes=limits.header_bytes,
        body_bytes=limits.request_bytes,
        read_timeout=limits.read_timeout,
        idle_timeout=limits.keep_alive,
        write_timeout=limits.write_timeout,
        connections=limits.connections,
    )


def taken(flag: str, host: str, port: int, error: OSError) -> ConfigError:
    """The complaint about an address that cannot be listened on."""
    code = error.errno or 0  # of the system; below that, a name was not found
    reason = os.strerror(code) if code > 0 else error.strerror or str(error)
    return ConfigError(f"{flag}: cannot listen on {host}:{port}: {reason}; choose another address")


def _url(address: tuple[str, int], tls: ssl.SSLContext | None) -> str:
    host, port = address
    return f"{'http' if tls is None else 'https'}://{_bracketed(host)}:{port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
