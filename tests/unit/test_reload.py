"""The configuration is read again whole, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from exporter.config.errors import ConfigError
from exporter.config.limits import Timeout
from exporter.config.model import Config, Limits, TracingSettings
from exporter.config.source import ConfigSource
from exporter.listeners import Listeners
from exporter.reload import Reloader
from exporter.servers import Difference, ServerSet
from exporter.systemd import SystemdNotifier
from exporter.telemetry.spans.export import SpanExport
from exporter.transport.garbage import FrozenObjects
from tests.support.fakes import Telemetry

ONE = "servers: {one: {command: cat}}\n"
TWO = "servers: {one: {command: cat}, two: {command: '${COMMAND}'}}\n"


class FakeServerSet:
    """Keeps what it is told to serve."""

    def __init__(self) -> None:
        self.served: list[list[str]] = []

    def apply(self, loaded: Config) -> Difference:
        before = self.served[-1] if self.served else []
        self.served.append(list(loaded.servers))
        return Difference([name for name in loaded.servers if name not in before], [], [])

    async def apply_in_turns(self, loaded: Config) -> Difference:
        return self.apply(loaded)

    @property
    def names(self) -> list[str]:
        return self.served[-1]


class FakeListeners:
    """Keeps what they are told to demand."""

    def __init__(self) -> None:
        self.limits: list[int] = []
        self.problem: str | None = None
        self.renewed = 0
        self.files: list[Path] = []

    def apply_limits(self, limits: Limits) -> None:
        self.limits.append(limits.request_bytes)

    def paths(self) -> tuple[Path, ...]:
        return tuple(self.files)

    def prepare(self) -> Callable[[], None]:
        if self.problem is not None:
            raise ConfigError(self.problem)
        return self.renew

    def renew(self) -> None:
        self.renewed += 1


class FakeNotifier:
    """Keeps what systemd is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def reloading(self) -> None:
        self.said.append("reloading")

    def ready(self, status: str) -> None:
        self.said.append(status)


class FakeSpanExport:
    """Takes the settings down."""

    def __init__(self) -> None:
        self.applied: list[TracingSettings | None] = []

    def apply(self, settings: TracingSettings | None) -> None:
        self.applied.append(settings)


class FakeFrozenObjects:
    """Counts how often they are settled."""

    def __init__(self) -> None:
        self.settled = 0

    def settle(self) -> None:
        self.settled += 1


class Setup:
    """A file, and the exporter that reads it."""

    def __init__(self, path: Path, directory: Path | None = None) -> None:
        self.path = path
        self.telemetry = Telemetry()
        self.servers = FakeServerSet()
        self.listeners = FakeListeners()
        self.notifier = FakeNotifier()
        self.source = ConfigSource(path, directory, {"COMMAND": "dog"})
        self.spans = FakeSpanExport()
        self.frozen = FakeFrozenObjects()
        self.reloader = Reloader(
            self.source,
            self.telemetry.metrics,
            cast(ServerSet, self.servers),
            cast(Listeners, self.listeners),
            cast(SystemdNotifier, self.notifier),
            cast(SpanExport, self.spans),
            cast(FrozenObjects, self.frozen),
        )
        path.write_text(ONE)
        self.reloader.start(self.source.read(), 0)

    def reload(self, text: str | None = None) -> str:
        if text is not None:
            self.path.write_text(text)
        self.telemetry.clock.advance(60)
        return asyncio.run(self.reloader.reload())

    def look(self, meanwhile: Callable[[], object] | None = None) -> None:
        """Let it look by itself; something may happen while it waits for files to settle."""

        async def look() -> None:
            looking = asyncio.create_task(self.reloader._look(0.2))
            await asyncio.sleep(0.1)
            if meanwhile is not None:
                meanwhile()
            with contextlib.suppress(ConfigError):
                await looking

        asyncio.run(look())

    @property
    def gauges(self) -> tuple[float | None, float | None]:
        name = "mcp_exporter_config_last_reload_success"
        return self.telemetry.own(f"{name}ful"), self.telemetry.own(f"{name}_timestamp_seconds")


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path / "mcp.yml")


def test_the_first_configuration_counts_as_loaded(setup: Setup) -> None:
    assert setup.servers.served == [["one"]]
    assert setup.gauges == (1, 1000)


def test_what_came_into_force_is_frozen(setup: Setup) -> None:
    assert setup.frozen.settled == 1
    setup.reload(TWO)
    assert setup.frozen.settled == 2


def test_a_new_configuration_is_in_force_at_once(setup: Setup) -> None:
    text = setup.reload(TWO + "limits: {request_bytes: 7KiB}\n")
    assert text == "1 added, 0 changed, 0 removed"
    assert setup.servers.served[-1] == ["one", "two"]
    assert setup.listeners.limits[-1] == 7 * 1024
    assert setup.reloader.config.servers["two"].command == "dog"
    assert setup.gauges == (1, 1060)


@pytest.mark.parametrize("text", ["", "servers: {}", "servers: {one: {comand: x}}", "{"])
def test_a_bad_configuration_changes_nothing_but_the_gauge(
    setup: Setup, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = setup.reloader.config
    with caplog.at_level(logging.ERROR), pytest.raises(ConfigError, match=r"mcp\.yml"):
        setup.reload(text)
    assert setup.reloader.config is before
    assert setup.servers.served == [["one"]]
    assert len(setup.listeners.limits) == 1
    assert setup.gauges == (0, 1000)
    (record,) = caplog.records
    assert record.message == "configuration not reloaded"
    assert "mcp.yml" in vars(record)["reason"]


def test_a_good_configuration_after_a_bad_one_puts_the_gauge_right(setup: Setup) -> None:
    with pytest.raises(ConfigError):
        setup.reload("{")
    setup.reload(TWO)
    assert setup.gauges == (1, 1120)


def test_a_file_that_is_gone_changes_nothing(setup: Setup) -> None:
    setup.path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        setup.reload()
    assert setup.gauges == (0, 1000)


def test_what_else_is_read_comes_into_force_with_the_configuration(setup: Setup) -> None:
    assert setup.listeners.renewed == 0
    setup.reload(TWO)
    assert setup.listeners.renewed == 1


def test_where_anything_else_is_bad_nothing_comes_into_force(setup: Setup) -> None:
    setup.listeners.problem = "tokens.yml:1: no tokens"
    with pytest.raises(ConfigError, match=r"tokens\.yml:1: no tokens"):
        setup.reload(TWO)
    assert setup.listeners.renewed == 0
    assert setup.servers.served == [["one"]]
    assert setup.gauges == (0, 1000)


def test_where_the_configuration_is_bad_nothing_else_comes_into_force(setup: Setup) -> None:
    with pytest.raises(ConfigError):
        setup.reload("{")
    assert setup.listeners.renewed == 0


@pytest.mark.parametrize(
    ("text", "status"), [(TWO, "Relays to 2 servers"), ("{", "Relays to 1 server")]
)
def test_systemd_is_told_of_a_reload_and_of_its_end(setup: Setup, text: str, status: str) -> None:
    with contextlib.suppress(ConfigError):
        setup.reload(text)
    assert setup.notifier.said == ["reloading", status]


def test_an_exporter_that_stops_does_not_begin_anew(setup: Setup) -> None:
    setup.reloader.close()
    with pytest.raises(ConfigError, match="is stopping"):
        setup.reload(TWO)
    assert setup.servers.served == [["one"]]
    assert setup.notifier.said == []


def test_tracing_begins_and_ends_with_the_file(setup: Setup) -> None:
    setup.reload(ONE + "\ntracing: {endpoint: 'http://127.0.0.1:4318'}\n")
    setup.reload(ONE)
    first, second, third = setup.spans.applied
    assert (first, third) == (None, None)
    assert second is not None
    assert second.endpoint == "http://127.0.0.1:4318/v1/traces"


# By itself


def test_a_file_that_is_as_it_was_is_not_read_again(setup: Setup) -> None:
    setup.path.write_text(ONE)
    setup.look()
    assert len(setup.servers.served) == 1


def test_a_file_that_changed_is_read_once_it_is_written_whole(setup: Setup) -> None:
    setup.path.write_text(TWO)
    setup.look(lambda: setup.path.write_text(TWO + "timeout: 1m\n"))
    assert len(setup.servers.served) == 1, "it was still being written"
    setup.look()
    assert setup.servers.served[-1] == ["one", "two"]
    assert setup.reloader.config.servers["two"].timeout == Timeout(60)
    setup.look()
    assert len(setup.servers.served) == 2


def test_a_bad_file_is_tried_once_and_again_when_it_changes(
    setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    setup.path.write_text("{")
    setup.look()
    setup.look()
    assert [r.message for r in caplog.records] == ["configuration not reloaded"]
    assert setup.gauges == (0, 1000)
    setup.path.write_text(TWO)
    setup.look()
    assert setup.servers.served[-1] == ["one", "two"]
    assert setup.gauges[0] == 1


def test_a_secret_that_a_file_names_is_watched_too(setup: Setup, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first")
    setup.reload("servers: {one: {command: cat, env: {KEY: '${file:secret}'}}}\n")
    secret.write_text("second")
    setup.look()
    assert setup.reloader.config.servers["one"].env["KEY"] == "second"


def test_who_may_come_in_is_read_again_when_those_files_change_and_only_then(
    setup: Setup, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.yml"
    setup.listeners.files.append(tokens)
    tokens.write_text("a")
    setup.look()
    assert setup.listeners.renewed == 1
    setup.path.write_text(TWO)
    setup.look()
    assert setup.listeners.renewed == 1
    assert setup.servers.served[-1] == ["one", "two"]


# Of a directory


@pytest.fixture
def both(tmp_path: Path) -> Setup:
    folder = tmp_path / "servers.d"
    folder.mkdir()
    (folder / "a.yml").write_text("servers: {a: {command: cat}}\n")
    return Setup(tmp_path / "mcp.yml", folder)


def test_a_wrong_file_of_the_directory_is_counted_and_logged_and_the_others_go_into_force(
    both: Setup, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "servers.d/a.yml").write_text("servers: {a: {comand: cat}}\n")
    (tmp_path / "servers.d/b.json").write_text('{"mcpServers": {"b": {"url": "http://x/"}}}')
    both.look()
    assert both.servers.served[-1] == ["one", "a", "b"]
    assert both.telemetry.own("mcp_exporter_config_files_failed") == 1
    assert both.gauges[0] == 1
    (record,) = caplog.records
    assert record.message == "configuration file not loaded"
    assert "a.yml:1: servers.a.comand: unknown key" in vars(record)["reason"]
    (tmp_path / "servers.d/a.yml").unlink()
    both.look()
    assert both.servers.served[-1] == ["one", "b"]
    assert both.telemetry.own("mcp_exporter_config_files_failed") == 0


def test_a_wrong_configuration_file_does_not_hold_up_the_directory(
    both: Setup, tmp_path: Path
) -> None:
    (tmp_path / "servers.d/b.toml").write_text('[servers.b]\ncommand = "cat"\n')
    with pytest.raises(ConfigError, match=r"mcp\.yml"):
        both.reload("{")
    assert both.servers.served[-1] == ["one", "a", "b"]
    assert both.gauges[0] == 0
    assert both.telemetry.own("mcp_exporter_config_files_failed") == 1


def test_a_name_that_is_taken_is_said_once(
    both: Setup, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "servers.d/b.yml").write_text("servers: {a: {command: dog}, b: {command: dog}}\n")
    both.look()
    both.reload()
    assert both.servers.served[-1] == ["one", "a", "b"]
    assert both.reloader.config.servers["a"].command == "cat"
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert record.message == "server left out"
    assert vars(record)["server"].endswith("b.yml: a")
    assert vars(record)["reason"].endswith("a.yml has a server of this name")
