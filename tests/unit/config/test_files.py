"""A file is written whole or not at all, and no link that somebody laid is followed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from exporter.config import files


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere" / "authorized_keys"
    path.parent.mkdir()
    path.write_text("owner")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    return path


def test_a_new_file_is_for_its_owner_alone(folder: Path) -> None:
    files.create(folder / "new", b"text")
    assert ((folder / "new").read_bytes(), mode(folder / "new")) == (b"text", 0o600)
    files.create(folder / "open", b"text", 0o644)
    assert mode(folder / "open") == 0o644


@pytest.mark.parametrize("leads_nowhere", [False, True])
def test_a_link_in_the_place_of_a_new_file_is_not_followed(
    folder: Path, victim: Path, leads_nowhere: bool
) -> None:
    if leads_nowhere:
        victim.unlink()
    (folder / "new").symlink_to(victim)
    with pytest.raises(FileExistsError):
        files.create(folder / "new", b"evil")
    assert not victim.exists() if leads_nowhere else victim.read_text() == "owner"


def test_a_file_is_replaced_with_its_mode(folder: Path) -> None:
    path = folder / "old"
    path.write_text("old")
    path.chmod(0o640)
    files.replace(path, b"new")
    assert (path.read_bytes(), mode(path)) == (b"new", 0o640)
    assert list(folder.iterdir()) == [path]


def test_a_link_is_replaced_and_not_followed(folder: Path, victim: Path) -> None:
    (folder / "old").symlink_to(victim)
    files.replace(folder / "old", b"new", 0o600)
    assert victim.read_text() == "owner"
    assert (folder / "old").read_bytes() == b"new"
    assert not (folder / "old").is_symlink()


def test_a_link_where_the_new_content_was_written_before_is_not_followed(
    folder: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "old"
    path.write_text("old")
    opened: list[Path] = []
    real = os.open

    def note(name: str, *rest: int) -> int:
        opened.append(Path(name))
        return real(name, *rest)

    monkeypatch.setattr(os, "open", note)
    files.replace(path, b"first")
    beside = [each for each in opened if each.parent == folder]
    assert beside
    for each in beside:
        each.symlink_to(victim)
    files.replace(path, b"second")
    assert (path.read_bytes(), victim.read_text()) == (b"second", "owner")


@pytest.mark.parametrize("write", [files.create, files.replace])
def test_what_cannot_be_written_whole_is_not_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, write: object
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    path = folder / "old"
    if write is files.replace:
        path.write_text("old")
    with pytest.raises(OSError, match="space"):
        write(path, b"new")  # type: ignore[operator]
    assert [each.read_text() for each in folder.iterdir()] == ["old"] * (write is files.replace)


def test_no_mode_is_wider_in_between(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = os.fsync

    def look(number: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(number).st_mode))
        real(number)

    monkeypatch.setattr(os, "fsync", look)
    before = os.umask(0)
    try:
        files.create(folder / "a", b"secret", 0o600)
        files.replace(folder / "a", b"secret")
        files.create(folder / "b", b"secret", 0o644)
    finally:
        os.umask(before)
    assert seen == [0o600] * 3
