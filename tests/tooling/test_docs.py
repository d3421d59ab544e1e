"""Every link in the documents leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.documents import DOCUMENTS, prose
from tests.support.paths import ROOT

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def _anchors(path: Path) -> set[str]:
    """The anchors that the headings of a document get, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return set(plain) | set(re.findall(r'<a (?:id|name)="([^"]+)"', path.read_text("utf-8")))


def _broken(path: Path) -> Iterator[str]:
    for link in LINK.findall(prose(path)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        is_page = target.is_file() and target.suffix == ".md"
        is_lost = anchor and is_page and anchor not in _anchors(target)
        if is_lost or not target.exists():
            yield link


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_something_that_is_there(path: Path) -> None:
    assert list(_broken(path)) == []


def test_the_site_has_every_document_of_ours() -> None:
    named = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text())
    top = {path.relative_to(ROOT).as_posix() for path in DOCUMENTS if ".github" not in path.parts}
    assert len(named) == len(set(named))
    assert {name for name in top if not name.startswith("deploy/")} == set(named)
