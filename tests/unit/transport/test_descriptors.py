"""How many descriptors there are, and for whom."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from unittest.mock import Mock, patch

import pytest

from exporter.transport.descriptors import RESERVE, first_reserved, raise_limit, takes_reserve
from exporter.transport.http.server import HttpServer
from tests.support.fakes import Scribe


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    first_reserved.cache_clear()
    yield
    first_reserved.cache_clear()


@pytest.mark.parametrize(
    ("limits", "raised"),
    [
        ((1024, 4096), (4096, 4096)),
        ((1024, 1 << 20), (65536, 1 << 20)),
        ((1024, resource.RLIM_INFINITY), (65536, resource.RLIM_INFINITY)),
        ((4096, 4096), None),
        ((1 << 20, 1 << 20), None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None),
    ],
)
def test_the_soft_limit_is_raised_within_reason(
    limits: tuple[int, int], raised: tuple[int, int] | None
) -> None:
    with (
        patch.object(resource, "getrlimit", return_value=limits),
        patch.object(resource, "setrlimit") as set_limit,
    ):
        raise_limit()
    assert [call.args[1] for call in set_limit.mock_calls] == ([raised] if raised else [])


def test_the_last_descriptors_are_kept_for_the_scrape_listener() -> None:
    with patch.object(resource, "getrlimit", return_value=(1024, 1024)):
        assert not takes_reserve(1023 - RESERVE)
        assert takes_reserve(1024 - RESERVE)
        loop = asyncio.new_event_loop()
        mcp, web = HttpServer(Scribe(), loop), HttpServer(Scribe(), loop, uses_reserve=True)
        accepted = Mock(fileno=lambda: 1000)
        assert not mcp._has_place(accepted)
        assert web._has_place(accepted)
        loop.close()


def test_where_there_is_no_limit_nothing_is_kept() -> None:
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    with patch.object(resource, "getrlimit", return_value=unlimited):
        assert not takes_reserve(1 << 20)
