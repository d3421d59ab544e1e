"""Writes the documents as a site into ``build/site``; a broken link or anchor fails.

The documents stand where a reader of the repository looks for them, and link to files beside them.
What is linked is laid out the same way for MkDocs, so that no link is rewritten.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from scripts.environment import ROOT, PreparationError, say, tool_environment

SOURCE = ROOT / "build" / "site-source"
LINK = re.compile(r"\]\(([^)#\s]+)")


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
    return done.returncode


def _files() -> Iterator[Path]:
    """The documents of mkdocs.yml, and the files that they link to."""
    for name in re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text()):
        page = ROOT / name
        yield page
        linked = {(page.parent / link).resolve() for link in LINK.findall(page.read_text())}
        yield from (path for path in linked if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
