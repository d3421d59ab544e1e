"""A file, a directory, or both: which servers are in force, and which are not and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.config.errors import ConfigError
from exporter.config.source import ConfigSource

MAIN = "servers: {main: {command: cat}}\n"


class Setup:
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
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def test_the_file_comes_first_and_then_the_directory_by_name(setup: Setup) -> None:
    setup.add("b.yml", "two", "one")
    setup.add("a.yml", "three")
    assert setup.names() == ["main", "three", "two", "one"]


def test_the_first_file_with_a_name_keeps_it(setup: Setup) -> None:
    setup.add("a.yml", "main", "one")
    setup.add("b.yml", "one", "two")
    loaded = setup.source.read()
    assert list(loaded.config.servers) == ["main", "one", "two"]
    assert loaded.left_out == {
        f"{setup.folder / 'a.yml'}: main": f"{setup.file} has a server of this name",
        f"{setup.folder / 'b.yml'}: one": f"{setup.folder / 'a.yml'} has a server of this name",
    }
    (setup.folder / "a.yml").unlink()
    assert setup.names() == ["main", "one", "two"]


def test_there_are_no_more_servers_than_the_limit(setup: Setup) -> None:
    setup.file.write_text(MAIN + "limits: {servers: 2}\n")
    setup.add("a.yml", "one", "two")
    loaded = setup.source.read()
    assert list(loaded.config.servers) == ["main", "one"]
    assert loaded.left_out == {f"{setup.folder / 'a.yml'}: two": "limits.servers is 2"}
    setup.file.write_text("servers: {a: {command: x}, b: {command: x}}\nlimits: {servers: 1}\n")
    error = setup.source.read().error
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
def test_beside_a_directory_a_file_needs_no_servers(setup: Setup, text: str) -> None:
    setup.file.write_text(text)
    assert setup.names() == []
    setup.add("a.yml", "one")
    assert setup.names() == ["one"]
    with pytest.raises(ConfigError, match=r"no servers|every server"):
        ConfigSource(setup.file, None, {}).read()


@pytest.mark.parametrize(
    ("text", "reason"),
    [("servers:\n", "no servers; add at least one, or write {} for none"), ("", "is empty")],
)
def test_beside_a_directory_a_file_that_is_cut_off_is_still_wrong(
    setup: Setup, text: str, reason: str
) -> None:
    setup.file.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        setup.source.read()


def test_without_a_good_file_at_the_start_there_is_none(setup: Setup) -> None:
    setup.file.write_text("{")
    with pytest.raises(ConfigError, match=r"mcp\.yml"):
        setup.source.read()


def test_a_file_that_went_wrong_stays_as_it_was_and_is_said(setup: Setup) -> None:
    setup.add("a.yml", "one")
    setup.names()
    setup.file.write_text("{")
    setup.add("a.yml", "two")
    for _ in range(2):
        loaded = setup.source.read()
        assert list(loaded.config.servers) == ["main", "two"]
        assert "not valid YAML" in str(loaded.error)
        assert list(loaded.errors) == [str(setup.file)]
    setup.file.write_text(MAIN)
    assert setup.source.read().error is None


def test_what_is_not_as_it_was_read_has_changed(setup: Setup) -> None:
    kept, gone = setup.add("a.yml", "one"), setup.add("b.yml", "two")
    setup.names()
    assert not setup.source.changed(setup.source.snapshot())
    setup.file.write_text(MAIN + "timeout: 1m\n")
    gone.unlink()
    new = setup.add("c.yml", "three")
    assert setup.source.changed(setup.source.snapshot()) == {setup.file, gone, new}
    assert kept not in setup.source.changed(setup.source.snapshot())
    setup.names()
    assert not setup.source.changed(setup.source.snapshot())


def test_what_is_still_being_written_stays_as_it_was(setup: Setup) -> None:
    setup.names()
    setup.file.write_text("servers: {other: {command: cat}}\n")
    new = setup.add("a.yml", "one")
    loaded = setup.source.read(frozenset({setup.file, new}))
    assert list(loaded.config.servers) == ["main"]
    assert setup.names() == ["other", "one"]
