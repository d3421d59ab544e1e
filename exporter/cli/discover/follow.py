"""Keeps a file of the MCP servers among the Services, through whatever the API server does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from exporter.cli.discover.api import ApiError, ExpiredError, Service, Services
from exporter.cli.discover.metrics import DiscoveryMetrics
from exporter.cli.discover.output_file import OutputFile
from exporter.cli.discover.services import DiscoveredServer, ServiceError, read

log = logging.getLogger(__name__)

SHORTEST_WAIT = 1.0
LONGEST_WAIT = 30.0
"""Seconds before the API server is asked again."""

MOST_TOLD = 100
"""Services that are wrong; of further ones there is no line, only the count in the metrics."""


class DiscoveredServers:
    """What every namespace has, and the file that says so."""

    def __init__(
        self,
        file: OutputFile,
        metrics: DiscoveryMetrics,
        domain: str,
        scopes: Iterable[str],
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        self._file = file
        self._metrics = metrics
        self._domain = domain
        self._later = later
        """Has something done in a moment, so that many changes are one new file."""
        self._is_waiting = False
        self._before = file.read()
        """What was found before a restart: it holds until its namespace is listed."""
        self._unlisted = set(scopes)
        self._found: dict[tuple[str, str], DiscoveredServer] = {}
        """By namespace and Service."""
        self._wrong: dict[tuple[str, str], str] = {}

    def replace(self, scope: str, services: Iterable[Service]) -> None:
        """This is all that there is in a namespace (in all of them, for an empty one)."""
        before = {key for key in (*self._found, *self._wrong) if scope in ("", key[0])}
        for service in services:
            before.discard(_key(service))
            self._take(service)
        for key in before:
            self._drop(key)
        self._unlisted.discard(scope)
        self._write()

    def change(self, kind: str, service: Service) -> None:
        """One Service was added, modified or deleted."""
        if kind == "DELETED":
            self._drop(_key(service))
        else:
            self._take(service)
        if not self._is_waiting:
            self._is_waiting = True
            self._later(self._write)

    def _take(self, service: Service) -> None:
        key = _key(service)
        try:
            found = read(service, self._domain)
        except ServiceError as error:
            self._reject(key, str(error))
            return
        self._drop(key)
        if found is not None:
            self._found[key] = found

    def _reject(self, key: tuple[str, str], reason: str) -> None:
        is_told = self._wrong.get(key) == reason  # not again with each list
        if not is_told and len(self._wrong) < MOST_TOLD:
            log.warning("service left out", extra={"service": "/".join(key), "reason": reason})
        self._drop(key)
        self._wrong[key] = reason

    def _drop(self, key: tuple[str, str]) -> None:
        self._found.pop(key, None)
        self._wrong.pop(key, None)

    def _write(self) -> None:
        self._is_waiting = False
        servers = {name: found for name, found in self._before.items() if self._is_unlisted(name)}
        for _, found in sorted(self._found.items()):
            servers.setdefault(found.name, found)  # of two with one name the first Service has it
        self._metrics.show(
            servers=len(servers),
            left_out=self._file.left_out(servers),
            wrong=len(self._wrong),
        )
        try:
            is_new = self._file.write(servers)
        except OSError as error:
            self._metrics.failed("write")
            log.error("servers not written", extra={"reason": str(error)})
            return
        if is_new:
            log.info("servers written", extra={"servers": len(servers)})

    def _is_unlisted(self, name: str) -> bool:
        return not self._unlisted.isdisjoint({"", name.partition("/")[0]})


def _key(service: Service) -> tuple[str, str]:
    metadata = service.get("metadata") or {}
    return metadata.get("namespace", ""), metadata.get("name", "")


async def follow(
    scope: str,
    services: Services,
    found: DiscoveredServers,
    metrics: DiscoveryMetrics,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """List, watch, and begin anew after every failure; never ends by itself."""
    wait = SHORTEST_WAIT
    while True:
        try:
            listed, version = await services.list()
            found.replace(scope, listed)
            metrics.reached(scope)
            wait = SHORTEST_WAIT
            while True:
                version = await _watch(services, version, found, metrics, scope)
                await sleep(SHORTEST_WAIT)  # for a proxy that ends each watch at once
        except ExpiredError as error:
            log.info("list again", extra={"namespace": scope or "*", "reason": str(error)})
            wait = SHORTEST_WAIT
        except ApiError as error:
            metrics.lost(scope)
            log.warning(
                "Kubernetes cannot be asked",
                extra={"namespace": scope or "*", "reason": str(error), "again_in": wait},
            )
        await sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


async def _watch(
    services: Services,
    version: str,
    found: DiscoveredServers,
    metrics: DiscoveryMetrics,
    scope: str,
) -> str:
    """The version from which the next watch goes on. Raises ``ApiError``."""
    async for kind, service in services.watch(version):
        version = service["metadata"]["resourceVersion"]
        if kind != "BOOKMARK":
            found.change(kind, service)
        metrics.reached(scope)
    metrics.reached(scope)
    return version
