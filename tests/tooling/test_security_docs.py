"""Every test that the pages on security name is there."""

from __future__ import annotations

import re

import pytest

from tests.support.paths import ROOT

PAGES = ("SECURITY.md", "docs/configuration.md")
NAMED = re.compile(r"`?(tests/[\w/]+(?:\.py)?)/?(?:::(\w+))?")


@pytest.mark.parametrize("page", PAGES)
def test_the_tests_that_a_page_names_exist(page: str) -> None:
    named = NAMED.findall((ROOT / page).read_text())
    assert named
    for path, function in named:
        assert (ROOT / path).exists(), path
        if function:
            text = (ROOT / path).read_text()
            assert re.search(rf"def {function}\(", text), f"{path}::{function}"
