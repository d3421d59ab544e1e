"""Debian packages are unpacked, not installed; stand-ins for apt-get and dpkg-deb show how."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts import debian

# Each stand-in notes its words; a "package" is a file whose text is the names it depends on.
APT_GET = """#!/bin/sh
echo "apt-get $*" >> "$CALLS"
for word in "$@"; do last=$verb; verb=$word; done
case "$*" in
*" update") [ -z "$OFFLINE" ] || { echo "Reading..." >&2; echo "E: no network" >&2; exit 100; };;
*" download "*)
    names=${*##* download }
    for name in $names; do
        [ "$name" != unknown ] || { echo "E: Unable to locate package unknown" >&2; exit 100; }
        echo made > "${name}_1_all.deb"
    done;;
esac
"""
DPKG_DEB = """#!/bin/sh
echo "dpkg-deb $*" >> "$CALLS"
case "$1" in
--field) case "$2" in *pages_*) echo "libc6 (>= 2.34), libjs-one (>= 1~), fonts-two | x";;
         *libjs-one_*) echo "libjs-three";; *) echo;; esac;;
--extract) mkdir -p "$3/usr"; touch "$3/usr/$(basename "$2")";;
esac
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in {"apt-get": APT_GET, "dpkg-deb": DPKG_DEB}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


def test_a_package_is_downloaded_and_unpacked_into_the_folder(calls: Path, tmp_path: Path) -> None:
    debian.unpack(["one"], tmp_path / "into")
    assert [p.name for p in (tmp_path / "into/usr").iterdir()] == ["one_1_all.deb"]
    words = [line.split()[0:2] for line in calls.read_text().splitlines()]
    assert ["apt-get", "install"] not in words


def test_apt_keeps_its_state_and_its_cache_in_the_folder(calls: Path, tmp_path: Path) -> None:
    debian.unpack(["one"], tmp_path / "into")
    for line in calls.read_text().splitlines():
        if line.startswith("apt-get"):
            assert f"Dir::State={tmp_path}/into/apt" in line
            assert f"Dir::Cache={tmp_path}/into/apt" in line


def test_only_the_dependencies_that_are_asked_for_come_along(calls: Path, tmp_path: Path) -> None:
    debian.unpack(["pages"], tmp_path / "into", needs="libjs-|fonts-")
    assert sorted(p.name for p in (tmp_path / "into/usr").iterdir()) == [
        "fonts-two_1_all.deb",
        "libjs-one_1_all.deb",
        "libjs-three_1_all.deb",
        "pages_1_all.deb",
    ]
    assert "libc6" not in calls.read_text()


@pytest.mark.usefixtures("calls")
def test_nothing_but_the_unpacked_files_stays(tmp_path: Path) -> None:
    debian.unpack(["one"], tmp_path / "into")
    assert [p.name for p in (tmp_path / "into").iterdir()] == ["usr"]


@pytest.mark.usefixtures("calls")
def test_no_network_is_told_in_apts_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLINE", "1")
    with pytest.raises(debian.UnavailableError, match="apt-get failed: E: no network"):
        debian.unpack(["one"], tmp_path / "into")


@pytest.mark.usefixtures("calls")
def test_a_package_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(debian.UnavailableError, match="locate package unknown"):
        debian.unpack(["unknown"], tmp_path / "into")


def test_another_system_than_debian_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(debian.UnavailableError, match="no apt-get and no dpkg-deb"):
        debian.unpack(["one"], tmp_path / "into")
    assert not (tmp_path / "into").exists()
