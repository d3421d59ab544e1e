"""Which files were read, and whether they are still what they were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from exporter.config import document

Digests = Mapping[Path, bytes]

MISSING = b""
"""The digest of what cannot be read."""


class FileReader:
    """Reads text files, and remembers the digest of each, also of those that cannot be read.

    A digest is taken before the text: what changes in between is then found to have changed.
    """

    def __init__(self) -> None:
        self.digests: dict[Path, bytes] = {}

    def __call__(self, path: Path) -> str:
        """The text of a file. Raises ``ConfigError``."""
        self.digests.setdefault(path, digest(path))
        return document.load(path)


def digest(path: Path) -> bytes:
    """Of the content that a path leads to now, through whatever links."""
    try:
        with path.open("rb") as stream:
            return sha256(stream.read(document.MAX_FILE_BYTES + 1)).digest()
    except (OSError, ValueError):
        return MISSING


def current(paths: Iterable[Path]) -> dict[Path, bytes]:
    """Of all these files now."""
    return {path: digest(path) for path in paths}


def changed(before: Digests, now: Digests) -> frozenset[Path]:
    """The files that are not the same at both times; one that is in neither is missing there."""
    paths = before.keys() | now.keys()
    return frozenset(path for path in paths if before.get(path, MISSING) != now.get(path, MISSING))
