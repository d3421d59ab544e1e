"""The socket belongs to its user, and to one exporter."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from exporter.wrap import unix_socket


def test_only_the_owner_may_use_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "new" / "s"
    with unix_socket.listen(str(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert unix_socket.is_trusted(str(path))


def test_what_a_dead_exporter_left_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    unix_socket.listen(path).close()
    with unix_socket.listen(path), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(path)


def test_a_living_exporter_keeps_its_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with unix_socket.listen(path), pytest.raises(FileExistsError, match="another exporter"):
        unix_socket.listen(path)


def test_a_file_that_is_no_socket_is_neither_trusted_nor_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    assert not unix_socket.is_trusted(str(path))
    with pytest.raises(OSError, match="in use"):
        unix_socket.listen(str(path))
    assert path.read_text() == "precious"


def test_a_path_that_no_socket_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="longer than"):
        unix_socket.listen(str(tmp_path / ("x" * 200)))


def test_the_place_does_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = unix_socket.default_path()
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/somewhere/else")
    assert unix_socket.default_path() == before
    assert str(os.getuid()) in before
