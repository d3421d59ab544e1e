"""Writes files whole or not at all: no link is followed, no mode is wider in between."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

PRIVATE = 0o600


def create(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Write a file that is not there yet. Raises ``OSError``: ``FileExistsError`` where there is
    anything of that name, even a link that leads nowhere."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    try:
        _fill(number, data, mode)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def replace(path: Path, data: bytes, mode: int | None = None) -> None:
    """Write a file in place of the one that is there, with its mode unless another is given.

    A link of that name is replaced, not followed. Raises ``OSError``: nothing changed."""
    if mode is None:
        mode = stat.S_IMODE(path.lstat().st_mode)
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        _fill(number, data, mode)
        Path(name).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _fill(number: int, data: bytes, mode: int) -> None:
    with os.fdopen(number, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(number)
        if hasattr(os, "fchmod"):  # not on Windows, where a file has its folder's rights
            os.fchmod(number, mode)
