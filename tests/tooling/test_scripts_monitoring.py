"""Prometheus and Alertmanager come from the PATH, from Debian or from their releases."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import monitoring
from scripts.debian import UnavailableError
from scripts.monitoring import PROMETHEUS

SYSTEM = "linux-amd64"


def _program(name: str, version: str) -> str:
    return f'#!/bin/sh\necho "{name}, version {version} (of a test)" "$@"\n'


def _install(folder: Path, version: str, names: Sequence[str] = ("prometheus", "promtool")) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(_program(name, version))
        (folder / name).chmod(0o755)


def _runs(program: Path, *words: str) -> str:
    return subprocess.run([program, *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder on the PATH, on a system without apt and without a network."""
    monkeypatch.setattr(monitoring, "TOOLS", tmp_path / "tools")
    monkeypatch.setattr(monitoring, "BIN", tmp_path / "tools/bin")
    monkeypatch.setattr("scripts.environment.TOOLS", tmp_path / "tools")
    monkeypatch.setattr(monitoring, "RELEASES", (tmp_path / "releases").as_uri())
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    (tmp_path / "path").mkdir()
    return tmp_path / "path"


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make Debian's package exist, in the version that is given."""

    def exists(version: str) -> None:
        def unpack(packages: Sequence[str], into: Path, needs: str) -> None:
            assert packages == ["prometheus"]
            assert needs == "libjs-|fonts-"
            _install(into / "usr/bin", version)

        monkeypatch.setattr(monitoring, "unpack", unpack)

    return exists


@pytest.fixture
def release(tmp_path: Path) -> Callable[[str], str]:
    """Make a release archive for a system; returns its SHA-256."""

    def exists(system: str) -> str:
        stem = f"prometheus-{PROMETHEUS.release}.{system}"
        folder = tmp_path / f"releases/prometheus/releases/download/v{PROMETHEUS.release}"
        folder.mkdir(parents=True)
        archive = folder / f"{stem}.tar.gz"
        with tarfile.open(archive, "w:gz") as members:
            for name in ("prometheus", "promtool"):
                content = _program(name, PROMETHEUS.release).encode()
                member = tarfile.TarInfo(f"{stem}/{name}")
                member.size = len(content)
                members.addfile(member, io.BytesIO(content))
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        (folder / "sha256sums.txt").write_text(f"{digest}  {archive.name}\n")
        return digest

    return exists


def test_what_is_on_the_path_is_taken(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _install(path, "3.1.0")
    monitoring.provide(PROMETHEUS)
    assert "version 3.1.0" in _runs(monitoring.BIN / "promtool", "--version")
    assert "Prometheus 3.1.0: found on the PATH" in capsys.readouterr().err


def test_a_second_time_nothing_is_sought(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _install(path, "3.1.0")
    monitoring.provide(PROMETHEUS)
    capsys.readouterr()
    monitoring.provide(PROMETHEUS)
    assert capsys.readouterr().err == ""


def test_what_an_older_version_of_the_script_made_is_made_anew(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _install(path, "3.1.0")
    monitoring.provide(PROMETHEUS)
    (tmp_path / "tools/prometheus.made-by").write_text("an older one")
    capsys.readouterr()
    monitoring.provide(PROMETHEUS)
    assert "Prometheus 3.1.0" in capsys.readouterr().err


def test_what_was_removed_since_is_sought_again(path: Path, package: Callable[[str], None]) -> None:
    _install(path, "3.1.0")
    monitoring.provide(PROMETHEUS)
    (path / "promtool").unlink()
    package("2.42.0+ds")
    monitoring.provide(PROMETHEUS)
    assert "version 2.42.0" in _runs(monitoring.BIN / "promtool", "--version")


def test_one_program_of_two_is_not_enough(path: Path, package: Callable[[str], None]) -> None:
    _install(path, "3.1.0", names=["prometheus"])
    package("2.42.0+ds")
    monitoring.provide(PROMETHEUS)
    assert "version 2.42.0" in _runs(monitoring.BIN / "prometheus", "--version")


def test_too_old_a_version_on_the_path_is_passed_over(
    path: Path, package: Callable[[str], None]
) -> None:
    _install(path, "2.15.2")
    package("2.42.0+ds")
    monitoring.provide(PROMETHEUS)
    assert "version 2.42.0" in _runs(monitoring.BIN / "prometheus", "--version")


@pytest.mark.usefixtures("path")
def test_debians_prometheus_is_told_where_its_pages_were_unpacked(
    package: Callable[[str], None], tmp_path: Path
) -> None:
    package("2.42.0+ds")
    monitoring.provide(PROMETHEUS)
    said = _runs(monitoring.BIN / "prometheus", "--config.file=a b.yml")
    assert f"--web.local-assets={tmp_path}/tools/" in said.replace("bin/../", "")
    assert said.endswith("--config.file=a b.yml\n")


@pytest.mark.usefixtures("path")
def test_the_folder_may_be_moved(package: Callable[[str], None], tmp_path: Path) -> None:
    package("2.42.0+ds")
    monitoring.provide(PROMETHEUS)
    moved = (tmp_path / "tools").rename(tmp_path / "moved elsewhere")
    assert "version 2.42.0" in _runs(moved / "bin/prometheus", "--version")
    assert "version 2.42.0" in _runs(moved / "bin/promtool", "--version")


@pytest.mark.usefixtures("path")
def test_the_folder_may_be_a_link(package: Callable[[str], None], tmp_path: Path) -> None:
    (tmp_path / "deep/down/elsewhere").mkdir(parents=True)
    (tmp_path / "tools").symlink_to(tmp_path / "deep/down/elsewhere")
    package("2.42.0+ds")
    monitoring.provide(PROMETHEUS)
    assert "version 2.42.0" in _runs(monitoring.BIN / "prometheus", "--version")
    assert "version 2.42.0" in _runs(monitoring.BIN / "promtool", "--version")


@pytest.mark.usefixtures("path")
def test_debians_alertmanager_opens_the_unpacked_folder_in_place_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = "/usr/share/prometheus/alertmanager"

    def unpack(packages: Sequence[str], into: Path, needs: str) -> None:
        assert (packages, needs) == (["prometheus-alertmanager"], "$^")
        _install(into / "usr/bin", "0.25.0", ["prometheus-alertmanager", "amtool"])
        program = into / "usr/bin/prometheus-alertmanager"
        reads = f'case "$*" in *--version*) ;; *) read line <{folder}/a; echo "$line" ;; esac'
        program.write_text(f"{program.read_text()}{reads}\n")
        (into / folder[1:]).mkdir(parents=True)
        (into / folder[1:] / "a").write_text("the template\n")

    monkeypatch.setattr(monitoring, "unpack", unpack)
    monitoring.provide(monitoring.ALERTMANAGER)
    assert "the template" in _runs(monitoring.BIN / "alertmanager")


def test_a_compiled_in_folder_is_replaced_by_a_path_as_long(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"x/usr/share/am0x/usr/share/am/ui1x/usr/share/am/no-ui2")
    monitoring._redirect(program, b"/usr/share/am")
    assert program.read_bytes() == b"x/dev/fd/9/./.0x/usr/share/am/ui1x/usr/share/am/no-ui2"


@pytest.mark.usefixtures("path")
def test_a_release_with_the_pinned_checksum_is_taken(
    release: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    pinned = replace(PROMETHEUS, checksums={SYSTEM: release(SYSTEM)})
    monitoring.provide(pinned)
    assert f"version {PROMETHEUS.release}" in _runs(monitoring.BIN / "promtool", "--version")
    assert "its pinned SHA-256 checked" in capsys.readouterr().err


@pytest.mark.usefixtures("path")
def test_a_release_with_another_checksum_is_refused(
    release: Callable[[str], str], tmp_path: Path
) -> None:
    found = release(SYSTEM)
    with pytest.raises(UnavailableError, match=f"has the SHA-256 {found}, expected was b349c732"):
        monitoring.provide(PROMETHEUS)
    assert not list((tmp_path / "tools").rglob("prom*tool"))
    assert not list((tmp_path / "tools").glob("*.part"))


@pytest.mark.usefixtures("path")
def test_where_no_checksum_is_pinned_the_releases_own_is_used_and_that_is_told(
    release: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    release(SYSTEM)
    monitoring.provide(replace(PROMETHEUS, checksums={}))
    assert f"none is pinned for {SYSTEM}" in capsys.readouterr().err


@pytest.mark.usefixtures("path")
def test_a_broken_download_is_refused_where_no_checksum_is_pinned(
    release: Callable[[str], str], tmp_path: Path
) -> None:
    release(SYSTEM)
    (archive,) = (tmp_path / "releases").rglob("*.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(UnavailableError, match="has the SHA-256"):
        monitoring.provide(replace(PROMETHEUS, checksums={}))


@pytest.mark.usefixtures("path")
def test_where_nothing_can_be_had_each_place_and_the_mend_are_told() -> None:
    with pytest.raises(UnavailableError) as error:
        monitoring.provide(PROMETHEUS)
    lines = str(error.value).splitlines()
    assert lines[0] == "Prometheus could not be had:"
    assert lines[1] == "  on the PATH: no prometheus"
    assert lines[2].startswith("  Debian's package: this system has no apt-get")
    assert lines[3].startswith("  the official release: ")
    assert lines[4].startswith("Install Prometheus 2.42 or later")
    assert len(lines) == 5


def test_every_pinned_checksum_is_one() -> None:
    for product in (monitoring.PROMETHEUS, monitoring.ALERTMANAGER):
        assert SYSTEM in product.checksums
        for checksum in product.checksums.values():
            assert len(bytes.fromhex(checksum)) == 32
