"""Opens connections to the host of one URL: by name or address, through a proxy, with TLS.

Of a name with several addresses the next one is tried when the one before has failed, or has
said nothing for a quarter of a second (RFC 8305): a dead address costs no more than that.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from exporter.config.model import Server
from exporter.config.upstream_tls import client_context
from exporter.transport.descriptors import keep_reserve
from exporter.transport.http.origin import is_loopback_name

HEAD_START = 0.25
"""Seconds that an address is given before the next one is tried as well."""

_LONGEST_ANSWER = 64 * 1024
"""Bytes of a proxy's answer to CONNECT."""

Address = tuple[int, tuple[Any, ...]]
Protocol = TypeVar("Protocol", bound=asyncio.Protocol)


class ProxyError(OSError):
    """The proxy did not open a tunnel."""


class Connector:
    """The way to one host."""

    def __init__(
        self,
        url: str,
        proxy: str | None = None,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._target = _endpoint(parts)
        self._proxy = urlsplit(proxy) if proxy else None
        self._tls = (tls or _trust()) if parts.scheme == "https" else None
        self._server_name = server_name or parts.hostname or ""
        self.prefix = b""
        """What goes before the target of a request, where a proxy passes it on."""
        self.headers = b""
        """Lines of further headers, for the proxy."""
        if self._proxy is not None and self._tls is None:
            self.prefix = f"http://{parts.netloc.rpartition('@')[2]}".encode()
            self.headers = _authorization(self._proxy)

    async def connect(self, factory: Callable[[], Protocol]) -> Protocol:
        """Open one connection. Raises ``OSError``."""
        loop = asyncio.get_running_loop()
        host, port = self._target if self._proxy is None else _endpoint(self._proxy)
        addresses = await _resolve(host, port)
        name = self._server_name if self._tls is not None else None
        if len(addresses) == 1 and (self._proxy is None or self._tls is None):
            _, (address, *_) = addresses[0]
            transport, protocol = await loop.create_connection(
                factory, address, port, ssl=self._tls, server_hostname=name
            )
            _leave_reserve(transport)
            return protocol
        connection = await race(addresses)
        try:
            if self._proxy is not None and self._tls is not None:
                await self._open_tunnel(connection, self._proxy)
            _, protocol = await loop.create_connection(
                factory, sock=connection, ssl=self._tls, server_hostname=name
            )
        except (OSError, asyncio.CancelledError):
            connection.close()
            raise
        return protocol

    async def _open_tunnel(self, connection: socket.socket, proxy: SplitResult) -> None:
        loop = asyncio.get_running_loop()
        host, port = self._target
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n".encode()
        await loop.sock_sendall(connection, head + _authorization(proxy) + b"\r\n")
        answer = bytearray()
        while b"\r\n\r\n" not in answer:
            data = await loop.sock_recv(connection, 4096)
            answer += data
            if not data or len(answer) > _LONGEST_ANSWER:
                raise ProxyError(f"the proxy {proxy.hostname} closed, or answered what is not HTTP")
        status = bytes(answer).split(b" ", 2)[1:2]
        if status != [b"200"]:
            shown = b"".join(status).decode("latin-1")[:20]
            raise ProxyError(f"the proxy {proxy.hostname} answered {shown!r} to CONNECT")


def connector_of(server: Server) -> Connector:
    """The way to a configured server."""
    url = server.url or ""
    tls = server.tls
    return Connector(
        url,
        proxy_for(url, server.proxy, os.environ),
        tls.context if tls is not None else None,
        tls.server_name if tls is not None else None,
    )


def proxy_for(url: str, configured: str | None, environ: Mapping[str, str]) -> str | None:
    """The proxy for a URL: the configured one, where ``direct`` means none, or that of
    ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``, which never count for loopback."""
    if configured is not None:
        return None if configured == "direct" else configured
    parts = urlsplit(url)
    found = _variable(environ, f"{parts.scheme}_proxy")
    if not found or is_loopback_name(parts.hostname or "") or _is_exempt(parts, environ):
        return None
    return found if "://" in found else f"http://{found}"


def _is_exempt(parts: SplitResult, environ: Mapping[str, str]) -> bool:
    host, port = _endpoint(parts)
    for item in _variable(environ, "no_proxy").split(","):
        name = item.strip().lower().removeprefix("*").removeprefix(".")
        if item.strip() == "*" or (name and name in (host, f"{host}:{port}")):
            return True
        if name and host.endswith(f".{name}"):
            return True
    return False


def _variable(environ: Mapping[str, str], name: str) -> str:
    """Programs differ in which case they read; the lower one wins, as with curl."""
    return environ.get(name) or environ.get(name.upper()) or ""


async def race(addresses: Sequence[Address], head_start: float = HEAD_START) -> socket.socket:
    """A connected socket to the first address that answers. Raises the last ``OSError``."""
    waiting, running = list(addresses), set[asyncio.Task[socket.socket]]()
    problem: OSError = ConnectionError("no address")
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.ensure_future(_dial(*waiting.pop(0))))
            timeout = head_start if waiting else None
            done, running = await asyncio.wait(
                running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if error is None:
                    return task.result()
                if not isinstance(error, OSError):
                    raise error
                problem = error
    finally:
        for task in running:
            task.add_done_callback(_close_late)
            task.cancel()
    raise problem


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _dial(family: int, address: tuple[Any, ...]) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        keep_reserve(connection.fileno())
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connection, address)
    except (OSError, asyncio.CancelledError):
        connection.close()
        raise
    return connection


def _leave_reserve(transport: asyncio.Transport) -> None:
    connection = transport.get_extra_info("socket")
    try:
        keep_reserve(connection.fileno() if connection is not None else 0)
    except OSError:
        transport.abort()
        raise


async def _resolve(host: str, port: int) -> list[Address]:
    """Its addresses, the families in turn. Raises ``OSError``."""
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        each = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
        first = [one for one in each if one[0] == each[0][0]]
        others = [one for one in each if one[0] != each[0][0]]
        return [one for one in chain(*zip_longest(first, others)) if one is not None]
    family = socket.AF_INET6 if number.version == 6 else socket.AF_INET
    return [(family, (host, port))]


def _endpoint(parts: SplitResult) -> tuple[str, int]:
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _authorization(proxy: SplitResult) -> bytes:
    if proxy.username is None:
        return b""
    user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return b"Proxy-Authorization: Basic " + base64.b64encode(user.encode()) + b"\r\n"


@functools.cache
def _trust() -> ssl.SSLContext:
    # One for all servers: each costs a megabyte of certificates, and a server has two pools.
    return client_context()
