"""Writes the documents as a site into ``build/site``; a broken link or anchor fails.

Pages of others are asked for, too: one that is gone fails, one that cannot be asked is told.

The documents stand where a reader of the repository looks for them, and link to files beside them.
What is linked is laid out the same way for MkDocs, so that no link is rewritten.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from pathlib import Path

import requests

from scripts.environment import ROOT, PreparationError, say, tool_environment

SOURCE = ROOT / "build" / "site-source"
LINK = re.compile(r"\]\(([^)#\s]+)")
GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
SECONDS_TO_REPLY = 20


def main() -> int:
    """Return 0, or 1 with the reason printed."""
    try:
        python = tool_environment("docs")
    except (PreparationError, OSError) as error:
        say(f"make docs-site: {error}")
        return 1
    shutil.rmtree(SOURCE, ignore_errors=True)
    for path in sorted(set(_files())):
        target = SOURCE / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    build = [str(python), "-m", "mkdocs", "build", "--quiet"]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=ROOT, env=environment, check=False)
    return done.returncode or followed(set(_of_others()))


def followed(links: Iterable[str]) -> int:
    """Ask each once, and say what became of it. Return 1 where one is gone."""
    gone = False
    for link in sorted(links):
        try:
            with requests.get(link, timeout=SECONDS_TO_REPLY, stream=True) as reply:
                status = reply.status_code
        except requests.RequestException as error:
            say(f"make docs-site: {link} was not followed: {type(error).__name__}")
            continue
        if status in GONE:
            say(f"make docs-site: {link} is gone ({status})")
            gone = True
    return 1 if gone else 0


def _of_others() -> Iterator[str]:
    """Links to pages that are not ours."""
    for name in _pages():
        links = LINK.findall((ROOT / name).read_text())
        yield from (link for link in links if link.startswith(("http://", "https://")))


def _pages() -> list[str]:
    return re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text())


def _files() -> Iterator[Path]:
    """The documents of mkdocs.yml, and the files that they link to."""
    for name in _pages():
        page = ROOT / name
        yield page
        linked = {(page.parent / link).resolve() for link in LINK.findall(page.read_text())}
        yield from (path for path in linked if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
