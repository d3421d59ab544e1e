"""Lists and watches the Services of a Kubernetes API server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from exporter.config.upstream_tls import client_context

_PAGE = 500
WATCH_SECONDS = 240
"""After which the API server ends a watch, and it begins anew where it was."""
_GRACE_SECONDS = 15
"""How much later a watch without an end is taken for a dead connection."""

Service = Mapping[str, Any]


class ApiError(Exception):
    """It cannot be reached, refuses, or speaks of something else."""


class ExpiredError(ApiError):
    """What a watch should begin with is forgotten there: list again."""


@dataclass(frozen=True, slots=True)
class ApiServer:
    """Where it is, and how it knows us. The token is read for each request, for it is renewed."""

    url: str
    token_file: Path | None
    ca_file: Path | None

    def client(self) -> httpx2.AsyncClient:
        """Connections to it. Raises ``OSError`` for a certificate that cannot be read."""
        context = client_context(self.ca_file) if self.ca_file else True
        timeout = httpx2.Timeout(10, read=30)
        return httpx2.AsyncClient(
            base_url=self.url, verify=context, timeout=timeout, trust_env=False
        )

    def headers(self) -> dict[str, str]:
        """Of each request. Raises ``ApiError``."""
        if self.token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self.token_file.read_text().strip()}"}
        except (OSError, ValueError) as error:
            raise ApiError(f"{self.token_file}: cannot be read: {error}") from None


class Services:
    """The Services of one namespace, or of all for an empty one."""

    def __init__(self, server: ApiServer, client: httpx2.AsyncClient, namespace: str) -> None:
        self._server = server
        self._client = client
        self._path = f"/api/v1/namespaces/{namespace}/services" if namespace else "/api/v1/services"

    async def list(self) -> tuple[list[Service], str]:
        """All of them, and the version from which a watch goes on. Raises ``ApiError``."""
        found: list[Service] = []
        asked = {"limit": str(_PAGE)}
        while True:
            page = await self._page(asked)
            found += page["items"]
            following = page["metadata"].get("continue")
            if not following:
                return found, page["metadata"]["resourceVersion"]
            asked["continue"] = following

    async def _page(self, asked: Mapping[str, str]) -> Any:
        try:
            reply = await self._client.get(
                self._path, params=dict(asked), headers=self._server.headers()
            )
            _check(reply)
            page = reply.json()
            if not (page["metadata"]["resourceVersion"] and isinstance(page["items"], list)):
                raise TypeError
        except httpx2.HTTPError as error:
            raise ApiError(_text(error)) from None
        except (ValueError, KeyError, TypeError):
            raise ApiError("its reply is no list of Services") from None
        return page

    async def watch(self, version: str) -> AsyncIterator[tuple[str, Service]]:
        """What changes from there on, until the API server ends it. Raises ``ApiError``."""
        asked = {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        timeout = httpx2.Timeout(10, read=WATCH_SECONDS + _GRACE_SECONDS)
        headers = self._server.headers()
        try:
            async with self._client.stream(
                "GET", self._path, params=asked, headers=headers, timeout=timeout
            ) as reply:
                if reply.is_error:
                    await reply.aread()
                _check(reply)
                async for line in _lines(reply):
                    yield _event(line)
        except httpx2.HTTPError as error:
            raise ApiError(_text(error)) from None


async def _lines(reply: httpx2.Response) -> AsyncIterator[bytes]:
    """Cut at line feeds alone: an annotation may hold what Unicode takes for the end of a line."""
    rest = b""
    async for piece in reply.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in filter(None, lines):
            yield line


def _event(line: bytes) -> tuple[str, Service]:
    try:
        event = json.loads(line)
        kind, subject = event["type"], event["object"]
        if kind == "ERROR":
            raise ExpiredError(str(subject.get("message")))
        if subject["metadata"]["resourceVersion"]:
            return kind, subject
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ApiError("it sent an event that is none")


def _check(reply: httpx2.Response) -> None:
    if reply.status_code == 410:
        raise ExpiredError("the version is too old")
    if reply.is_error or reply.is_redirect:
        raise ApiError(f"HTTP {reply.status_code}: {_message(reply)}")


def _message(reply: httpx2.Response) -> str:
    try:
        return str(reply.json()["message"])
    except (ValueError, KeyError, TypeError):
        return reply.reason_phrase


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
