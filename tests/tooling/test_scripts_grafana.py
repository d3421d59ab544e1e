"""Grafana comes from where it is installed, else from its archive: here, from a local server."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from scripts import grafana
from scripts.debian import UnavailableError

NAME = "grafana.tar.gz"
PROGRAM = b"#!/bin/sh\necho a Grafana of a test\n"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that a local server serves in Grafana's place, on a machine that has none."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder))
    )
    Thread(target=server.serve_forever).start()
    monkeypatch.setattr(grafana, "RELEASE", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(grafana, "TOOLS", tmp_path / "tools")
    monkeypatch.setattr("scripts.environment.TOOLS", tmp_path / "tools")
    monkeypatch.setattr(grafana, "PACKAGES", (str(tmp_path / "path"),))
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    yield folder
    server.shutdown()
    server.server_close()


def _archive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(folder / NAME, "w:gz") as members:
        for name in ("bin/grafana", "conf/defaults.ini"):
            member = tarfile.TarInfo(f"grafana-{grafana.VERSION}/{name}")
            member.size, member.mode = len(PROGRAM), 0o755
            members.addfile(member, io.BytesIO(PROGRAM))
    pinned = hashlib.sha256((folder / NAME).read_bytes()).hexdigest()
    monkeypatch.setattr(grafana, "ARCHIVES", {"linux-x86_64": (NAME, pinned)})


@pytest.mark.usefixtures("served")
def test_what_is_installed_is_taken(tmp_path: Path) -> None:
    program = tmp_path / "path" / "grafana-server"
    program.parent.mkdir()
    program.write_bytes(PROGRAM)
    program.chmod(0o755)
    assert grafana.find() == program


def test_the_archive_is_unpacked_once(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _archive(served, monkeypatch)
    program = grafana.find()
    assert (
        subprocess.run([program], capture_output=True, check=True).stdout == PROGRAM[15:-1] + b"\n"
    )
    assert (program.parent.parent / "conf/defaults.ini").exists()  # its home, which it starts with
    (served / NAME).unlink()
    assert grafana.find() == program
    tools = program.parent.parent.parent
    assert {path.name for path in tools.iterdir()} == {program.parts[-3], "grafana.lock"}


def test_another_archive_than_the_pinned_one_is_refused(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _archive(served, monkeypatch)
    with (served / NAME).open("ab") as more:
        more.write(b"more")
    with pytest.raises(UnavailableError, match="expected was"):
        grafana.find()
    assert [path.name for path in (tmp_path / "tools").iterdir()] == ["grafana.lock"]


@pytest.mark.usefixtures("served")
def test_a_server_that_is_not_reached_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grafana, "RELEASE", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="Connection refused"):
        grafana.find()


@pytest.mark.usefixtures("served")
def test_a_machine_for_which_nothing_is_pinned_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(UnavailableError, match="no archive is pinned for linux-riscv64"):
        grafana.find()


def test_every_pinned_checksum_is_one() -> None:
    assert all(len(bytes.fromhex(pinned)) == 32 for _, pinned in grafana.ARCHIVES.values())
    assert all(grafana.VERSION in name for name, _ in grafana.ARCHIVES.values())
