"""A file, a directory, or both: which servers are in force, and which are not and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.config.errors import ConfigError
from exporter.config.source import ConfigSource

MAIN = "servers: {main: {command: cat}}\n"


class Scene:
    """A configuration file and a directory beside it."""

    def __init__(self, path: Path) -> None:
        self.file = path / "mcp.yml"
        self.folder = path / "servers.d"
        self.folder.mkdir()
        self.file.write_text(MAIN)
        self.source = ConfigSource(self.file, self.folder, {})

    def add(self, name: str, *servers: str) -> Path:
        path = self.folder / name
        entries = ", ".join(f"{server}: {{command: cat}}" for server in servers)
        path.write_text(f"servers: {{{entries}}}\n")
        return path

    def names(self) -> list[str]:
        return list(self.source.read().config.servers)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_the_file_comes_first_and_then_the_directory_by_name(scene: Scene) -> None:
    scene.add("b.yml", "two", "one")
    scene.add("a.yml", "three")
    assert scene.names() == ["main", "three", "two", "one"]


def test_the_first_file_with_a_name_keeps_it(scene: Scene) -> None:
    scene.add("a.yml", "main", "one")
    scene.add("b.yml", "one", "two")
    loaded = scene.source.read()
    assert list(loaded.config.servers) == ["main", "one", "two"]
    assert loaded.left_out == {
        f"{scene.folder / 'a.yml'}: main": f"{scene.file} has a server of this name",
        f"{scene.folder / 'b.yml'}: one": f"{scene.folder / 'a.yml'} has a server of this name",
    }
    (scene.folder / "a.yml").unlink()
    assert scene.names() == ["main", "one", "two"]


def test_there_are_no_more_servers_than_the_limit(scene: Scene) -> None:
    scene.file.write_text(MAIN + "limits: {servers: 2}\n")
    scene.add("a.yml", "one", "two")
    loaded = scene.source.read()
    assert list(loaded.config.servers) == ["main", "one"]
    assert loaded.left_out == {f"{scene.folder / 'a.yml'}: two": "limits.servers is 2"}
    scene.file.write_text("servers: {a: {command: x}, b: {command: x}}\nlimits: {servers: 1}\n")
    error = scene.source.read().error
    assert "2 servers are more than limits.servers (1); raise that" in str(error)


def test_a_directory_alone_will_do_and_may_be_empty(tmp_path: Path) -> None:
    source = ConfigSource(None, tmp_path, {})
    assert source.read().config.servers == {}
    (tmp_path / "a.yml").write_text(MAIN)
    assert list(source.read().config.servers) == ["main"]


@pytest.mark.parametrize(
    "text",
    ["limits: {servers: 2}\n", "servers: {}\n", "servers: {off: {command: x, disabled: true}}"],
)
def test_beside_a_directory_a_file_needs_no_servers(scene: Scene, text: str) -> None:
    scene.file.write_text(text)
    assert scene.names() == []
    scene.add("a.yml", "one")
    assert scene.names() == ["one"]
    with pytest.raises(ConfigError, match=r"no servers|every server"):
        ConfigSource(scene.file, None, {}).read()


@pytest.mark.parametrize(
    ("text", "reason"),
    [("servers:\n", "no servers; add at least one, or write {} for none"), ("", "is empty")],
)
def test_beside_a_directory_a_file_that_is_cut_off_is_still_wrong(
    scene: Scene, text: str, reason: str
) -> None:
    scene.file.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        scene.source.read()


def test_without_a_good_file_at_the_start_there_is_none(scene: Scene) -> None:
    scene.file.write_text("{")
    with pytest.raises(ConfigError, match=r"mcp\.yml"):
        scene.source.read()


def test_a_file_that_went_wrong_stays_as_it_was_and_is_said(scene: Scene) -> None:
    scene.add("a.yml", "one")
    scene.names()
    scene.file.write_text("{")
    scene.add("a.yml", "two")
    for _ in range(2):
        loaded = scene.source.read()
        assert list(loaded.config.servers) == ["main", "two"]
        assert "not valid YAML" in str(loaded.error)
        assert list(loaded.errors) == [str(scene.file)]
    scene.file.write_text(MAIN)
    assert scene.source.read().error is None


def test_what_is_not_as_it_was_read_has_changed(scene: Scene) -> None:
    kept, gone = scene.add("a.yml", "one"), scene.add("b.yml", "two")
    scene.names()
    assert not scene.source.changed(scene.source.snapshot())
    scene.file.write_text(MAIN + "timeout: 1m\n")
    gone.unlink()
    new = scene.add("c.yml", "three")
    assert scene.source.changed(scene.source.snapshot()) == {scene.file, gone, new}
    assert kept not in scene.source.changed(scene.source.snapshot())
    scene.names()
    assert not scene.source.changed(scene.source.snapshot())


def test_what_is_still_being_written_stays_as_it_was(scene: Scene) -> None:
    scene.names()
    scene.file.write_text("servers: {other: {command: cat}}\n")
    new = scene.add("a.yml", "one")
    loaded = scene.source.read(frozenset({scene.file, new}))
    assert list(loaded.config.servers) == ["main"]
    assert scene.names() == ["other", "one"]
