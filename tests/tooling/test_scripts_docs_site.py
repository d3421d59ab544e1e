"""Links to pages of others: followed where they can be, and told where not."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from scripts import docs_site

HERE, GONE, AWAY = "https://a.example/here", "https://b.example/gone", "https://c.example/away"


@pytest.fixture(autouse=True)
def others(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(link: str, **_: Any) -> requests.Response:
        if link == AWAY:
            raise requests.ConnectionError
        reply = requests.Response()
        reply.status_code = 200 if link == HERE else 404
        reply.raw = _Nothing()
        return reply

    monkeypatch.setattr(requests, "get", get)


class _Nothing:
    def close(self) -> None:
        """As the raw reply of a real request."""


def test_a_page_that_is_gone_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert docs_site.followed([GONE, HERE]) == 1
    assert f"{GONE} is gone (404)" in capsys.readouterr().err


def test_one_that_cannot_be_asked_is_told_and_fails_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert docs_site.followed([HERE, AWAY]) == 0
    assert f"{AWAY} was not followed: ConnectionError" in capsys.readouterr().err
