"""Listing and watching: pages, events, and what is refused; the API server is a fake."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from exporter.cli.discover.api import ApiError, ApiServer, ExpiredError, Service, Services

Reply = Callable[[httpx2.Request], httpx2.Response]
ONE = {"metadata": {"name": "a", "namespace": "n", "resourceVersion": "7"}}


def _services(reply: Reply, token: Path | None = None, namespace: str = "n") -> Services:
    client = httpx2.AsyncClient(base_url="http://api", transport=httpx2.MockTransport(reply))
    return Services(ApiServer("http://api", token, None), client, namespace)


async def _watched(services: Services) -> list[tuple[str, Service]]:
    return [event async for event in services.watch("5")]


def test_a_list_has_all_pages_and_the_version_to_go_on_from() -> None:
    def reply(request: httpx2.Request) -> httpx2.Response:
        assert request.url.path == "/api/v1/namespaces/n/services"
        more = {} if "continue" in request.url.params else {"continue": "x"}
        page = {"metadata": {"resourceVersion": "5", **more}, "items": [ONE]}
        return httpx2.Response(200, json=page)

    assert asyncio.run(_services(reply).list()) == ([ONE, ONE], "5")


def test_all_namespaces_are_one_list() -> None:
    asked: list[str] = []

    def reply(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        return httpx2.Response(200, json={"metadata": {"resourceVersion": "5"}, "items": []})

    asyncio.run(_services(reply, namespace="").list())
    assert asked == ["/api/v1/services"]


def test_a_renewed_token_is_sent_at_once(tmp_path: Path) -> None:
    token, seen = tmp_path / "token", []

    def reply(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers["Authorization"])
        return httpx2.Response(200, json={"metadata": {"resourceVersion": "5"}, "items": []})

    services = _services(reply, token)
    for text in ("first\n", "second\n"):
        token.write_text(text)
        asyncio.run(services.list())
    assert seen == ["Bearer first", "Bearer second"]
    token.unlink()
    with pytest.raises(ApiError, match="cannot be read"):
        asyncio.run(services.list())


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (403, '{"message": "services is forbidden"}', "403: services is forbidden"),
        (502, "<html>", "502: Bad Gateway"),
        (302, "", "302"),
        (200, "<html>", "no list"),
        (200, "[]", "no list"),
        (200, '{"metadata": {}, "items": []}', "no list"),
    ],
)
def test_what_is_no_list_is_an_error_with_its_reason(status: int, body: str, said: str) -> None:
    services = _services(lambda _: httpx2.Response(status, text=body))
    with pytest.raises(ApiError, match=said):
        asyncio.run(services.list())


def test_a_connection_that_fails_is_an_error() -> None:
    def reply(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    with pytest.raises(ApiError, match="refused"):
        asyncio.run(_services(reply).list())
    with pytest.raises(ApiError, match="refused"):
        asyncio.run(_watched(_services(reply)))


def test_events_end_at_line_feeds_alone() -> None:
    odd = {"metadata": {**ONE["metadata"], "annotations": {"a": "one\x85two\u2028three"}}}
    lines = [{"type": "ADDED", "object": odd}, {"type": "DELETED", "object": ONE}]
    text = "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n"
    services = _services(lambda _: httpx2.Response(200, text=text))
    assert asyncio.run(_watched(services)) == [("ADDED", odd), ("DELETED", ONE)]


def test_a_version_that_is_too_old_is_told_apart() -> None:
    gone = {"type": "ERROR", "object": {"code": 410, "message": "too old"}}
    for reply in (httpx2.Response(410), httpx2.Response(200, text=json.dumps(gone) + "\n")):
        with pytest.raises(ExpiredError):
            asyncio.run(_watched(_services(lambda _, reply=reply: reply)))  # type: ignore[misc]


@pytest.mark.parametrize("line", ["{", "[]", '{"type": "ADDED", "object": {"metadata": {}}}'])
def test_an_event_that_is_none_is_an_error(line: str) -> None:
    services = _services(lambda _: httpx2.Response(200, text=line + "\n"))
    with pytest.raises(ApiError, match="event"):
        asyncio.run(_watched(services))


def test_a_watch_that_is_refused_says_why() -> None:
    services = _services(lambda _: httpx2.Response(403, json={"message": "forbidden"}))
    with pytest.raises(ApiError, match="403: forbidden"):
        asyncio.run(_watched(services))
