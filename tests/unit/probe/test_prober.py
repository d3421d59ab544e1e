"""Each server is probed on time, whatever happens to the others or to itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import patch

import pytest

from exporter.config.model import ProbeSettings, Server
from exporter.probe.history import History
from exporter.probe.prober import LATE, Prober
from exporter.probe.target import Era, ProbeEvents, ProbeResult, Target
from exporter.probe.transcript import Transcript
from exporter.protocol.failures import UpstreamError
from exporter.telemetry.health import State
from tests.support.fakes import Telemetry, encoded, on_fake_time, result, settle, virtual_loop
from tests.support.probe_fakes import FakeTarget

SETTINGS = ProbeSettings(interval=30.0, timeout=5.0, list_interval=300.0)


class Scheduled:
    """A prober, and the target that it probes."""

    def __init__(self, settings: ProbeSettings = SETTINGS) -> None:
        self.telemetry = Telemetry()
        self.history = History()
        server = Server("files", "http", url="http://server/mcp", probe=settings)
        targets: list[FakeTarget] = []

        def open_target(events: ProbeEvents) -> Target:
            targets.append(FakeTarget(server, events))
            return targets[0]

        self.prober = Prober(server, self.telemetry.recorder, self.history, open_target)
        (self.target,) = targets

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
    scheduled = Scheduled()
    scheduled.target.check_takes = 4.0
    await scheduled.run_for(100)
    assert scheduled.target.checked_at == [0, 30, 60, 90]
    assert scheduled.target.limits[0] == pytest.approx((5.0, 27.0))
    assert len(scheduled.history.records()) == 4
    assert scheduled.target.is_closed


@on_fake_time
async def test_the_start_can_be_put_off_a_little() -> None:
    scheduled = Scheduled()
    await scheduled.run_for(40, delay=0.5)
    assert scheduled.target.checked_at == [0.5, 30.5]


@on_fake_time
async def test_a_server_that_is_not_to_be_probed_is_not() -> None:
    scheduled = Scheduled(replace(SETTINGS, enabled=False))
    scheduled.prober.probe_soon()
    scheduled.prober.tools_changed()
    await scheduled.run_for(100)
    assert scheduled.target.checked_at == scheduled.target.listed_at == []
    assert scheduled.target.is_closed


@on_fake_time
async def test_a_failed_probe_is_followed_sooner_until_the_state_is_clear() -> None:
    scheduled = Scheduled()
    scheduled.target.found = ProbeResult("timeout", 5.0, "no reply")
    scheduled.target.check_takes = 5.0
    await scheduled.run_for(100)
    assert scheduled.target.checked_at == [0, 7.5, 15, 45, 75]
    assert scheduled.prober.health.state is State.ERROR


@on_fake_time
async def test_a_server_that_asks_for_a_pause_gets_it() -> None:
    scheduled = Scheduled()
    scheduled.target.found = ProbeResult("success", 0.1, "HTTP 429", retry_after=70.0)
    await scheduled.run_for(100)
    assert scheduled.target.checked_at == [0, 70]


@on_fake_time
async def test_a_slow_server_delays_no_other() -> None:
    slow, quick = Scheduled(), Scheduled()
    slow.target.check_takes = 25.0
    slow.prober.start()
    await quick.run_for(100)
    await slow.prober.close()
    assert quick.target.checked_at == slow.target.checked_at == [0, 30, 60, 90]


@on_fake_time
async def test_a_fault_of_ours_does_not_end_the_schedule() -> None:
    scheduled = Scheduled()
    scheduled.target.fault = ValueError("a fault")
    await scheduled.run_for(100)
    assert scheduled.target.checked_at == [0, 30, 60, 90]
    assert scheduled.telemetry.own("mcp_exporter_internal_errors_total", where="probe") == 4


def test_a_probe_that_starts_late_says_so(caplog: pytest.LogCaptureFixture) -> None:
    @on_fake_time
    async def run() -> None:
        scheduled = Scheduled()
        scheduled.prober.start()
        await settle()
        virtual_loop().clock.advance(30 + LATE + 0.5)  # the loop was held up
        await asyncio.sleep(1)
        await scheduled.prober.close()
        assert scheduled.target.checked_at == [0, 31.5]

    run()
    (late,) = [record for record in caplog.records if record.message == "probe starts late"]
    assert (late.__dict__["server"], late.__dict__["seconds"]) == ("files", 1.5)


@on_fake_time
async def test_closing_ends_a_probe_that_runs() -> None:
    scheduled = Scheduled()
    scheduled.target.check_takes = 1000.0
    await scheduled.run_for(10)
    assert scheduled.target.checked_at == [0]


# Listings


@on_fake_time
async def test_tools_are_listed_with_the_first_probe_and_every_list_interval() -> None:
    scheduled = Scheduled()
    await scheduled.run_for(1000)
    assert scheduled.target.listed_at == [0, 300, 600, 900]


@on_fake_time
async def test_a_list_interval_shorter_than_the_interval_is_kept() -> None:
    scheduled = Scheduled(replace(SETTINGS, list_interval=12.0))
    await scheduled.run_for(65)
    assert scheduled.target.listed_at == [0, 12, 24, 36, 48, 60]
    assert scheduled.target.checked_at == [0, 30, 60]


@on_fake_time
async def test_a_listing_that_fails_is_tried_with_the_next_probe() -> None:
    scheduled = Scheduled()
    scheduled.target.listing = UpstreamError("HTTP 500")
    scheduled.prober.start()
    await asyncio.sleep(31)
    scheduled.target.listing = {}
    await asyncio.sleep(60)
    await scheduled.prober.close()
    assert scheduled.target.listed_at == [0, 30, 60]


@on_fake_time
async def test_a_server_that_cannot_be_asked_is_not_asked() -> None:
    scheduled = Scheduled(replace(SETTINGS, list_interval=12.0))
    scheduled.target.era = Era.UNKNOWN
    await scheduled.run_for(65)
    assert scheduled.target.checked_at == [0, 30, 60]
    assert scheduled.target.listed_at == []


@on_fake_time
async def test_changed_tools_are_listed_without_another_probe() -> None:
    scheduled = Scheduled()
    scheduled.prober.start()
    await asyncio.sleep(10)
    scheduled.prober.tools_changed()
    await asyncio.sleep(2)
    for _ in range(20):
        scheduled.prober.tools_changed()
        await asyncio.sleep(0.05)
    await asyncio.sleep(5)
    await scheduled.prober.close()
    assert scheduled.target.listed_at == pytest.approx([0, 10, 12, 13])
    assert scheduled.target.checked_at == [0]


@pytest.mark.parametrize(("news", "listed"), [(True, [0, 10]), (False, [0])])
def test_what_a_client_is_shown_calls_for_a_listing_where_it_is_news(
    news: bool, listed: list[float]
) -> None:
    @on_fake_time
    async def run() -> None:
        scheduled = Scheduled()
        scheduled.target.listing = {"known": b'{"name":"known"}'}
        scheduled.prober.start()
        await asyncio.sleep(10)
        name = "new" if news else "known"
        scheduled.prober.tools_shown(encoded(result(1, tools=[{"name": name}])), None)
        await asyncio.sleep(5)
        await scheduled.prober.close()
        assert scheduled.target.listed_at == listed

    run()


# Signs from elsewhere


@on_fake_time
async def test_a_failed_call_hurries_the_next_probe() -> None:
    scheduled = Scheduled()
    scheduled.prober.start()
    await asyncio.sleep(10)
    scheduled.prober.health.call_failed("reset")
    await asyncio.sleep(15)
    await scheduled.prober.close()
    assert scheduled.target.checked_at == [0, 10]
    assert scheduled.prober.health.state is State.OK


@on_fake_time
async def test_failed_calls_hurry_no_probe_of_a_server_that_is_known_to_be_down() -> None:
    scheduled = Scheduled()
    scheduled.target.found = ProbeResult("timeout", 0.0, "no reply")
    scheduled.prober.start()
    for _ in range(100):
        await asyncio.sleep(0.1)
        scheduled.prober.health.call_failed("reset")
    await scheduled.prober.close()
    assert scheduled.prober.health.state is State.ERROR
    assert len(scheduled.target.checked_at) <= 3


@on_fake_time
async def test_a_child_that_ends_between_probes_is_kept_in_the_history_and_replaced_soon() -> None:
    scheduled = Scheduled()
    scheduled.prober.start()
    await asyncio.sleep(10)
    scheduled.prober.child_exited("exited with code 1", Transcript(str))
    assert scheduled.prober.health.state is State.DEGRADED
    record = scheduled.history.records()[0]
    assert (record.result.value, record.result.reason) == ("process_exit", "exited with code 1")
    assert scheduled.telemetry.value("mcp_probes_total", result="process_exit") == 0
    await asyncio.sleep(5)
    await scheduled.prober.close()
    assert scheduled.target.checked_at == [0, 10]
    scheduled.prober.child_exited("exited with code 1", Transcript(str))
    assert len(scheduled.history.records()) == 3
