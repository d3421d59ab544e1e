"""Pages on security: the tests that they name are there, and their figures are the code's."""

from __future__ import annotations

import re

import pytest

from exporter import reload
from exporter.config import redact, validators
from exporter.relay import tokens
from exporter.relay.stdio import http_response, session, shared
from exporter.transport import descriptors
from exporter.transport.http import connection, connector, parser
from exporter.transport.process import child
from exporter.web import config as web_config
from tests.support.paths import ROOT

PAGES = ("SECURITY.md", "docs/access.md", "docs/configuration.md")
NAMED = re.compile(r"`?(tests/[\w/]+(?:\.py)?)/?(?:::(\w+))?")
NUMBERS = {
    0.25: "a quarter of a second",
    1.0: "a second",
    4: "four",
    5: "five",
    60.0: "the last minute",
}


def _kib(size: int) -> str:
    return f"{size // 1024} KiB" if size < 1024**2 else f"{size // 1024**2} MiB"


FIGURES = {
    "SECURITY.md": (
        f"Headers ({parser._MOST_HEADERS})",
        f"sends more than {_kib(connection._BACKLOG)} ahead",
    ),
    "docs/access.md": (
        f"A token has at least {tokens.SHORTEST} characters",
        f"with a cost from 4 to {web_config.HIGHEST_COST}",
        f"the {NUMBERS[len(web_config._HEADERS)]} `headers`",
    ),
    "docs/configuration.md": (
        f"`header_bytes`, and {parser._MOST_HEADERS} headers",
        f"{_kib(connection._BACKLOG)} sent ahead of the responses",
        f"raised to the hard one at the start, at most to {descriptors._ENOUGH:,}.",
        f"leave {descriptors.RESERVE} descriptors to the scrape listener",
        f"chunks of less than {parser._LEAST_CHUNK} bytes on average is rejected",
        f"before a body of more than {_kib(parser._SCREENED)} comes",
        f"{_kib(session.MAX_QUEUED)} in a session whose client has no stream open",
        f"{_kib(http_response.MAX_UNREAD)} for each 2026-07-28 client that does not read",
        f"{_kib(child.MAX_UNREAD)} for a process that does not read its input",
        f"cancelled or overdue in {NUMBERS[shared.STRAY_TIME]} may still be worked on",
        f"after {NUMBERS[connector.HEAD_START]} of silence",
        f"It has 1 to {validators.MAX_NAME} visible characters",
        f"must stay as it is for {NUMBERS[reload.SETTLE_TIME]}",
        f"shorter than {NUMBERS[redact.SHORTEST]} characters",
    ),
}


@pytest.mark.parametrize("page", PAGES)
def test_the_tests_that_a_page_names_exist(page: str) -> None:
    named = NAMED.findall((ROOT / page).read_text())
    assert named
    for path, function in named:
        assert (ROOT / path).exists(), path
        if function:
            text = (ROOT / path).read_text()
            assert re.search(rf"def {function}\(", text), f"{path}::{function}"


@pytest.mark.parametrize("page", FIGURES)
def test_the_figures_of_a_page_are_those_of_the_code(page: str) -> None:
    text = " ".join((ROOT / page).read_text().split())
    assert [figure for figure in FIGURES[page] if figure not in text] == []


def test_the_web_configuration_is_honoured_as_far_as_the_page_says() -> None:
    page = (ROOT / "docs" / "access.md").read_text()
    rows = dict(re.findall(r"^\| (`\w+`) \| (.*) \|$", page.partition("| key |")[2], re.M))
    named = set(re.findall(r"`(\w+)", rows["`tls_server_config`"]))
    values = {*web_config._CLIENT_AUTH, *web_config._VERSIONS}
    assert named == {*web_config._TLS_KEYS, *values}
    assert set(re.findall(r"`(\w+)`", rows["`rate_limit`"])) == {"interval", "burst"}
