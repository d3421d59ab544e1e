"""Of each file of a directory its last good servers are in force."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config.digests import current
from exporter.config.directory import ServerDirectory
from exporter.config.limits import Timeout
from exporter.config.model import Server

DEFAULTS = Server(name="", transport="stdio")


def yaml(name: str, command: str = "cat") -> str:
    return f"servers: {{{name}: {{command: {command}}}}}\n"


class Setup:
    """A directory, and what reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.directory = ServerDirectory(path, {"KEY": "value"})

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.write_text(text)
        return path

    def read(self, *unsettled: str, defaults: Server = DEFAULTS) -> dict[str, list[str]]:
        """What is in force of each file then."""
        now = current(self.directory.watched())
        still = frozenset(self.path / name for name in unsettled)
        self.directory.read(defaults, now, still)
        return {path.name: list(file.servers) for path, file in self.directory.files.items()}

    @property
    def errors(self) -> dict[str, str]:
        return {Path(path).name: text for path, text in self.directory.errors.items()}


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def test_files_of_every_kind_are_read_in_the_order_of_their_names(setup: Setup) -> None:
    setup.write("c.toml", '[servers.c]\ncommand = "cat"\n')
    setup.write("b.yaml", yaml("b"))
    setup.write("a.JSON", json.dumps({"mcpServers": {"a": {"command": "cat"}}}))
    for ignored in (".hidden.yml", "notes.txt", "b.yaml~", "b.yaml.new"):
        setup.write(ignored, "{")
    (setup.path / "folder.yml").mkdir()
    assert setup.read() == {"a.JSON": ["a"], "b.yaml": ["b"], "c.toml": ["c"]}
    assert setup.errors == {}


@pytest.mark.parametrize(
    "text", ["", "{", "servers:", "servers: {a: {comand: x}}", "servers: [a]", "[]"]
)
def test_a_wrong_file_keeps_what_it_said_and_says_its_line(setup: Setup, text: str) -> None:
    setup.write("a.yml", yaml("a"))
    setup.read()
    setup.write("a.yml", text)
    setup.write("b.yml", yaml("b"))
    assert setup.read() == {"a.yml": ["a"], "b.yml": ["b"]}
    assert setup.errors["a.yml"].startswith(str(setup.path / "a.yml"))
    setup.write("a.yml", yaml("other"))
    assert setup.read()["a.yml"] == ["other"]
    assert setup.errors == {}


@pytest.mark.parametrize("key", ["limits: {}", "probe: {interval: 10s}", "timeout: 1m"])
def test_settings_belong_into_the_configuration_file(setup: Setup, key: str) -> None:
    setup.write("a.yml", yaml("a") + key + "\n")
    assert setup.read() == {"a.yml": []}
    assert "only servers are read here; write it into --config.file" in setup.errors["a.yml"]


def test_no_servers_at_all_is_right_where_it_is_said(setup: Setup) -> None:
    setup.write("a.yml", "servers: {}\n")
    setup.write("b.yml", "servers: {b: {command: cat, disabled: true}}\n")
    assert setup.read() == {"a.yml": [], "b.yml": []}
    assert setup.errors == {}


def test_a_server_is_what_the_configuration_file_says_of_all(setup: Setup) -> None:
    setup.write("a.yml", yaml("a"))
    setup.read(defaults=Server(name="", transport="stdio", timeout=Timeout(7.0)))
    (file,) = setup.directory.files.values()
    assert file.servers["a"].timeout == Timeout(7.0)
    setup.read()
    (file,) = setup.directory.files.values()
    assert file.servers["a"].timeout == DEFAULTS.timeout


def test_what_a_file_names_belongs_to_it(setup: Setup) -> None:
    secret = setup.write("secret", "first")
    setup.write("a.yml", "servers: {a: {command: cat, env: {KEY: '${file:secret}'}}}\n")
    setup.read()
    secret.write_text("second")
    setup.read("secret")
    assert env_of(setup) == "first", "it is still being written"
    setup.read()
    assert env_of(setup) == "second"
    secret.unlink()
    setup.read()
    assert env_of(setup) == "second"
    assert "cannot be read" in setup.errors["a.yml"]
    secret.write_text("third")
    setup.read()
    assert env_of(setup) == "third"


def env_of(setup: Setup) -> str:
    (file,) = setup.directory.files.values()
    return file.servers["a"].env["KEY"]


def test_a_directory_that_is_gone_leaves_what_was_there(setup: Setup, tmp_path: Path) -> None:
    setup.write("a.yml", yaml("a"))
    setup.read()
    moved = tmp_path.with_name("elsewhere")
    tmp_path.rename(moved)
    assert setup.read() == {"a.yml": ["a"]}
    assert "cannot be read: no such file or directory" in setup.errors[tmp_path.name]
    moved.rename(tmp_path)
    assert setup.read() == {"a.yml": ["a"]}
    assert setup.errors == {}


def test_a_mounted_directory_is_replaced_at_once(setup: Setup) -> None:
    """As Kubernetes does with a ConfigMap: the files are links into ..data, which is a link."""
    for version in ("one", "two"):
        folder = setup.path / f"..{version}"
        folder.mkdir()
        (folder / "a.yml").write_text(yaml(version))
    data = setup.path / "..data"
    data.symlink_to("..one")
    (setup.path / "a.yml").symlink_to("..data/a.yml")
    assert setup.read() == {"a.yml": ["one"]}
    fresh = setup.path / "..data_tmp"
    fresh.symlink_to("..two")
    fresh.rename(data)
    assert setup.read() == {"a.yml": ["two"]}


# Whatever happens to the files

FILES = ("a.yml", "b.json", "c.toml")
GOOD = {
    ".yml": "servers: {{s{}: {{command: cat}}}}\n# the end\n",
    ".json": '{{"mcpServers": {{"s{}": {{"command": "cat"}}}}}}\n',
    ".toml": '[servers.s{}]\ncommand = "cat"\n# the end\n',
}
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["write", "replace", "truncate", "rename", "delete", "look", "settle"]),
        st.sampled_from(FILES),
        st.integers(0, 60),
    ),
    max_size=25,
)


@contextmanager
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp())
    try:
        yield made
    finally:
        shutil.rmtree(made)


def good_servers(path: Path) -> list[str] | None:
    """What the file says by another reader, ``None`` where it says nothing that is right."""
    single = Setup(path.parent)
    single.read()
    file = single.directory.files[path]
    return list(file.servers) if file.error is None else None


@settings(max_examples=150, deadline=None)
@given(OPERATIONS)
def test_in_force_is_always_the_last_good_state_of_each_file(
    operations: list[tuple[str, str, int]],
) -> None:
    with folder() as path:
        setup = Setup(path)
        expected: dict[str, list[str]] = {}
        for number, (what, name, size) in enumerate(operations):
            if what == "look":
                there = {found.name for found in path.iterdir()}
                for found in sorted(there):
                    good = good_servers(path / found)
                    expected[found] = expected.get(found, []) if good is None else good
                expected = {found: expected[found] for found in expected if found in there}
                assert setup.read() == dict(sorted(expected.items()))
            elif what == "settle":
                # What is being written is not looked at, and neither is its end.
                first = current(setup.directory.watched())
                change(path / name, "truncate", size, number)
                unsettled = {p.name for p in first if current([p]) != {p: first[p]}}
                for found in sorted({p.name for p in path.iterdir()} - unsettled):
                    good = good_servers(path / found)
                    expected[found] = expected.get(found, []) if good is None else good
                gone = set(expected) - {p.name for p in path.iterdir()} - unsettled
                expected = {f: servers for f, servers in expected.items() if f not in gone}
                assert setup.read(*unsettled) == dict(sorted(expected.items()))
            else:
                change(path / name, what, size, number)


def change(path: Path, what: str, size: int, number: int) -> None:
    """Do to a file what its owner may do to it at any time."""
    text = GOOD[path.suffix].format(number)
    if what == "write":
        path.write_text(text)
    elif what == "replace":
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(path)
    elif path.exists():
        if what == "truncate":
            path.write_text(path.read_text()[:size])
        elif what == "rename":
            path.rename(path.with_name(f"z{path.suffix}"))
        else:
            path.unlink()
