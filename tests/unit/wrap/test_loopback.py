"""A port of the machine is the exporter's only for who has its key."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.wrap import loopback, unix_socket
from exporter.wrap.loopback import Handshake


@contextmanager
def served(listener: socket.socket, key: bytes) -> Iterator[list[Handshake]]:
    """Answer one caller with this key."""
    doors = [Handshake(key)]

    def serve() -> None:
        listener.setblocking(True)
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as file:
            for line in file:
                reply = doors[0].receive(line[:-1])
                if reply is None:
                    return
                connection.sendall(reply)

    thread = threading.Thread(target=serve)
    thread.start()
    yield doors
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "wrap.port"


def test_the_file_is_its_users_alone_and_the_port_the_machines(path: Path) -> None:
    with unix_socket.listen(str(path)) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert loopback.read(str(path))[0] == listener.getsockname()[1]


def test_both_sides_prove_that_they_have_the_key(path: Path) -> None:
    with unix_socket.listen(str(path)) as listener:
        with served(listener, loopback.read(str(path))[1]) as doors:
            unix_socket.connect(str(path)).close()
        assert doors[0].is_open


def test_who_took_the_port_of_a_dead_exporter_is_told_nothing(path: Path) -> None:
    with unix_socket.listen(str(path)) as listener:
        with served(listener, b"0" * 64) as doors, pytest.raises(ConnectionRefusedError):
            unix_socket.connect(str(path))
        assert not doors[0].is_open


def test_the_key_is_never_said(path: Path) -> None:
    with unix_socket.listen(str(path)) as listener:
        key = loopback.read(str(path))[1]
        handshake, other = Handshake(key), Handshake(key)
        challenge = b"1" * 64
        replies = [handshake.receive(challenge), other.receive(challenge)]
        assert replies[0] != replies[1]
        for reply in replies:
            assert reply is not None
            assert key not in reply
        listener.close()


@pytest.mark.parametrize("said", [b"", b"hello", b"1" * 63, b"1" * 65])
def test_who_begins_with_something_else_is_hung_up_on(said: bytes) -> None:
    assert Handshake(b"key").receive(said) is None


@pytest.mark.parametrize("answer", [b"", b"0" * 64, b"\xff" * 64])
def test_who_has_not_the_key_is_hung_up_on(answer: bytes) -> None:
    handshake = Handshake(b"key")
    assert handshake.receive(b"1" * 64) is not None
    assert handshake.receive(answer) is None
    assert not handshake.is_open


def test_an_answer_of_the_exporter_is_none_of_a_caller() -> None:
    handshake = Handshake(b"key")
    reply = handshake.receive(b"1" * 64)
    assert reply is not None
    assert handshake.receive(reply.split()[1]) is None


def test_a_living_exporter_keeps_its_port(path: Path) -> None:
    with (
        unix_socket.listen(str(path)) as listener,
        served(listener, loopback.read(str(path))[1]),
        pytest.raises(FileExistsError, match="another exporter"),
    ):
        unix_socket.listen(str(path))


def test_what_a_dead_exporter_left_is_replaced(path: Path) -> None:
    unix_socket.listen(str(path)).close()
    before = path.read_text()
    with unix_socket.listen(str(path)):
        assert path.read_text() != before


@pytest.mark.parametrize("text", ["", "hello", f"99999 {'0' * 64}\n", f"-1 {'0' * 64}\n"])
def test_a_file_that_names_no_port_is_no_exporter(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(OSError, match="port"):
        unix_socket.connect(str(path))


def test_a_file_that_others_may_read_is_not_trusted(path: Path) -> None:
    with unix_socket.listen(str(path)):
        path.chmod(0o640)
        with pytest.raises(PermissionError, match="alone"):
            unix_socket.connect(str(path))
        link = path.with_name("link.port")
        link.symlink_to(path)
        with pytest.raises(PermissionError, match="not a file"):
            unix_socket.connect(str(link))


def test_a_link_that_somebody_laid_is_not_written_through(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("owner")
    path.parent.mkdir()
    for name in (path.name, f"{path.name}.new"):
        path.with_name(name).symlink_to(victim)
    before = os.umask(0)
    try:
        with unix_socket.listen(str(path)):
            assert path.lstat().st_mode & 0o7777 == 0o600
            assert loopback.read(str(path))[0] > 0
    finally:
        os.umask(before)
    assert victim.read_text() == "owner"


def test_a_pipe_in_the_place_of_the_file_stops_nobody(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)
    with pytest.raises(PermissionError, match="not a file"):
        unix_socket.connect(str(path))


def test_on_windows_it_is_a_port_at_the_users_own_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    place = unix_socket.default_path()
    assert place == str(tmp_path) + "/mcp-exporter/wrap.port"
    assert unix_socket.is_port(place)
    assert unix_socket.is_port("C:\\anything")
    monkeypatch.delenv("LOCALAPPDATA")
    assert unix_socket.default_path() == ""
