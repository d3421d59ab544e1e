"""Each server is probed on time, whatever happens to the others or to itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast
from unittest.mock import patch

import pytest

from exporter.config.model import ProbeSettings, Server
from exporter.probe.base import ProbeResult
from exporter.probe.history import History, Record
from exporter.probe.prober import LATE, Prober
from exporter.probe.run import ProbeRunner
from exporter.probe.stdio import StdioProbe
from exporter.probe.transcript import Transcript
from exporter.telemetry.health import State
from exporter.telemetry.health_tracker import HealthTracker
from exporter.transport.process.reaper import Reaper
from tests.support.fakes import Books, on_fake_time, settle, virtual_loop

SETTINGS = ProbeSettings(interval=30.0, timeout=5.0, list_interval=300.0)


class Tame:
    """Stands for a checkup: the test says what is found, and how long it takes."""

    def __init__(self, settings: ProbeSettings = SETTINGS, server: Server | None = None) -> None:
        self.books = Books()
        self.server = server or Server("files", "http", url="http://server/mcp", probe=settings)
        self.vitals = HealthTracker(self.books.recorder)
        self.probe: Any = self
        self.can_list = True
        self.found = ProbeResult("success", 0.1)
        self.takes = 0.0
        self.lists = True
        self.news = False
        self.failures = 0
        self.fault: Exception | None = None
        self.began: list[float] = []
        self.listed: list[float] = []
        self.running = 0
        self.is_closed = False

    @property
    def now(self) -> float:
        return virtual_loop().time() - 1000.0

    async def run(self, patience: float, ends_at: float, is_listing_due: bool) -> Record:
        assert patience == self.server.probe.timeout
        assert ends_at > virtual_loop().time() + patience - 1e-9
        assert not self.running, "probes overlap"
        self.began.append(self.now)
        self.running += 1
        await asyncio.sleep(self.takes)
        self.running -= 1
        if self.fault is not None:
            raise self.fault
        self.vitals.succeed() if self.found.is_alive else self.vitals.fail("no")
        tools = None
        if is_listing_due and self.lists and self.found.is_alive:
            self.listed.append(self.now)
            tools = 3
        return Record("files", 0.0, self.found, [], tools)

    async def list_tools(self, ends_at: float) -> bool:
        assert ends_at > virtual_loop().time()
        self.listed.append(self.now)
        return self.lists

    def heard(self, data: bytes, cursor: str | None) -> bool:
        assert (data, cursor) == (b"page", "2")
        return self.news

    def failed(self) -> None:
        self.failures += 1

    def exited(self, reason: str, _: Transcript) -> Record:
        self.vitals.fail(reason)
        return Record("files", 0.0, ProbeResult("process_exit", 0.0, reason), [])

    async def close(self) -> None:
        self.is_closed = True


class Running:
    """A prober with a tame checkup."""

    def __init__(self, tame: Tame | None = None) -> None:
        self.tame = tame or Tame()
        self.history = History()
        self.prober = Prober(cast(ProbeRunner, self.tame), self.history)

    async def run_for(self, seconds: float, delay: float = 0.0) -> None:
        self.prober.start(delay)
        await asyncio.sleep(seconds)
        await self.prober.close()


@pytest.fixture(autouse=True)
def no_jitter() -> Iterator[None]:
    with patch("exporter.probe.prober._jitter", lambda: 1.0):
        yield


@on_fake_time
async def test_probes_begin_at_the_start_and_come_at_every_interval() -> None:
    running = Running()
    running.tame.takes = 4.0
    await running.run_for(100)
    assert running.tame.began == [0, 30, 60, 90]
    assert len(running.history.records()) == 4
    assert running.tame.is_closed


@on_fake_time
async def test_the_start_can_be_put_off_a_little() -> None:
    running = Running()
    await running.run_for(40, delay=0.5)
    assert running.tame.began == [0.5, 30.5]


@on_fake_time
async def test_a_server_that_is_not_to_be_probed_is_not() -> None:
    running = Running(Tame(replace(SETTINGS, enabled=False)))
    running.prober.probe_soon()
    running.prober.list_soon()
    await running.run_for(100)
    assert running.tame.began == running.tame.listed == []
    assert running.tame.is_closed


@on_fake_time
async def test_a_failed_probe_is_followed_sooner_until_the_state_is_clear() -> None:
    running = Running()
    running.tame.found = ProbeResult("timeout", 5.0, "no reply")
    running.tame.takes = 5.0
    await running.run_for(100)
    assert running.tame.began == [0, 7.5, 15, 45, 75]
    assert running.tame.vitals.state is State.ERROR


@on_fake_time
async def test_a_server_that_asks_for_rest_gets_it() -> None:
    running = Running()
    running.tame.found = ProbeResult("success", 0.1, "HTTP 429", rest=70.0)
    await running.run_for(100)
    assert running.tame.began == [0, 70]


@on_fake_time
async def test_a_slow_server_delays_no_other() -> None:
    slow, quick = Running(), Running()
    slow.tame.takes = 25.0
    slow.prober.start()
    await quick.run_for(100)
    await slow.prober.close()
    assert quick.tame.began == slow.tame.began == [0, 30, 60, 90]


@on_fake_time
async def test_a_fault_of_ours_does_not_end_the_schedule() -> None:
    running = Running()
    running.tame.fault = ValueError("a fault")
    await running.run_for(100)
    assert running.tame.began == [0, 30, 60, 90]
    assert running.tame.failures == 4


def test_a_probe_that_starts_late_says_so(caplog: pytest.LogCaptureFixture) -> None:
    @on_fake_time
    async def run() -> None:
        running = Running()
        running.prober.start()
        await settle()
        virtual_loop().clock.advance(30 + LATE + 0.5)  # the loop was held up
        await asyncio.sleep(1)
        await running.prober.close()
        assert running.tame.began == [0, 31.5]

    run()
    (late,) = [record for record in caplog.records if record.message == "probe starts late"]
    assert (late.__dict__["server"], late.__dict__["seconds"]) == ("files", 1.5)


@on_fake_time
async def test_closing_ends_a_probe_that_runs() -> None:
    running = Running()
    running.tame.takes = 1000.0
    await running.run_for(10)
    assert running.tame.began == [0]


# Listings


@on_fake_time
async def test_tools_are_listed_with_the_first_probe_and_every_list_interval() -> None:
    running = Running()
    await running.run_for(1000)
    assert running.tame.listed == [0, 300, 600, 900]


@on_fake_time
async def test_a_list_interval_shorter_than_the_interval_is_kept() -> None:
    running = Running(Tame(replace(SETTINGS, list_interval=12.0)))
    await running.run_for(65)
    assert running.tame.listed == [0, 12, 24, 36, 48, 60]
    assert running.tame.began == [0, 30, 60]


@on_fake_time
async def test_a_listing_that_fails_is_tried_with_the_next_probe() -> None:
    running = Running()
    running.tame.lists = False
    running.prober.start()
    await asyncio.sleep(31)
    running.tame.lists = True
    await asyncio.sleep(60)
    await running.prober.close()
    assert running.tame.listed == [60]


@on_fake_time
async def test_a_server_that_cannot_be_asked_is_not_asked() -> None:
    running = Running(Tame(replace(SETTINGS, list_interval=12.0)))
    running.tame.can_list = running.tame.lists = False
    await running.run_for(65)
    assert running.tame.began == [0, 30, 60]
    assert running.tame.listed == []


@on_fake_time
async def test_changed_tools_are_listed_without_another_probe() -> None:
    running = Running()
    running.prober.start()
    await asyncio.sleep(10)
    running.tame.probe.on_list_changed()
    await asyncio.sleep(2)
    for _ in range(20):
        running.prober.list_soon()
        await asyncio.sleep(0.05)
    await asyncio.sleep(5)
    await running.prober.close()
    assert running.tame.listed == pytest.approx([0, 10, 12, 13])
    assert running.tame.began == [0]


@pytest.mark.parametrize(("news", "listed"), [(True, [0, 10]), (False, [0])])
def test_what_a_client_is_shown_calls_for_a_listing_where_it_is_news(
    news: bool, listed: list[float]
) -> None:
    @on_fake_time
    async def run() -> None:
        running = Running()
        running.prober.start()
        await asyncio.sleep(10)
        running.tame.news = news
        running.prober.tools_heard(b"page", "2")
        await asyncio.sleep(5)
        await running.prober.close()
        assert running.tame.listed == listed

    run()


# Signs from elsewhere


@on_fake_time
async def test_a_failed_call_hurries_the_next_probe() -> None:
    running = Running()
    running.prober.start()
    await asyncio.sleep(10)
    running.tame.vitals.missed("reset")
    await asyncio.sleep(15)
    await running.prober.close()
    assert running.tame.began == [0, 10]
    assert running.tame.vitals.state is State.OK


@on_fake_time
async def test_failed_calls_hurry_no_probe_of_a_server_that_is_known_to_be_down() -> None:
    running = Running()
    running.tame.found = ProbeResult("timeout", 0.0, "no reply")
    running.prober.start()
    for _ in range(100):
        await asyncio.sleep(0.1)
        running.tame.vitals.missed("reset")
    await running.prober.close()
    assert running.tame.vitals.state is State.ERROR
    assert len(running.tame.began) <= 3


@on_fake_time
async def test_a_child_that_ends_between_probes_is_kept_in_the_history_and_replaced_soon() -> None:
    server = Server("files", "stdio", command="x", probe=SETTINGS)
    tame = Tame(server=server)
    tame.probe = StdioProbe(server, tame.books.recorder, Reaper())
    running = Running(tame)
    running.prober.start()
    await asyncio.sleep(10)
    tame.probe.on_exit("exited with code 1", Transcript(str))
    assert tame.vitals.state is State.DEGRADED
    assert running.history.records()[0].finding.text == "exited with code 1"
    await asyncio.sleep(5)
    await running.prober.close()
    assert tame.began == [0, 10]
    tame.probe.on_exit("exited with code 1", Transcript(str))
    assert len(running.history.records()) == 3
