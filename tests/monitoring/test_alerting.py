"""From the server that fails to the message that arrives, with every real program between."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support import fast_rules
from tests.support.alerting_stack import Stack, Traffic, stack
from tests.support.receivers import text
from tests.support.running import mcp_server, wait_for

pytestmark = pytest.mark.e2e

CALLS = {
    "files": ("files", "list_files", 0.5),
    "failing": ("failing", "ok", 0.5),
    "hanging": ("hanging", "ok", 0.5),
    # A dying server starts a process a call, so it is called less often.
    "dying": ("dying", "ok", 2.0),
}
TROUBLE = {"failing": "fail", "hanging": "hang", "dying": "die"}
EXPECTED = {
    "failing": ("MCPToolErrorRatio", "MCP tool ok of failing fails often"),
    "hanging": ("MCPServerDown", "MCP server hanging is down"),
    "dying": ("MCPServerDown", "MCP server dying is down"),
}


@contextmanager
def _servers(folder: Path) -> Iterator[dict[str, Any]]:
    """A server that works, and two that misbehave as their mode files say."""
    with ExitStack() as rest:
        files = mcp_server("files", folder, "--root", str(folder))
        failing = mcp_server("flaky", folder, *_mode(folder, "failing"))
        hanging = mcp_server("flaky", folder, *_mode(folder, "hanging"))
        yield {
            "files": {"url": rest.enter_context(files)},
            "failing": {"url": rest.enter_context(failing)},
            "hanging": {"url": rest.enter_context(hanging)},
        }


def _mode(folder: Path, server: str) -> list[str]:
    return ["--mode-file", str(_mode_file(folder, server))]


def _mode_file(folder: Path, server: str) -> Path:
    return folder / f"{server}.mode"


@contextmanager
def _alerting(folder: Path, servers: dict[str, Any]) -> Iterator[Stack]:
    """The whole stack, healthy, with traffic that Prometheus has seen."""
    probe = {"interval": "3s", "timeout": "2s"}
    with stack(folder, {"servers": servers, "probe": probe, "timeout": "8s"}) as found:
        healthy = 'sum(mcp_server_health_state{state="ok"})'
        wait_for(lambda: found.value(healthy) == len(servers), 60, "every server is healthy")
        with Traffic(found.exporters[0], [CALLS[name] for name in servers]):
            busy = "count(server:mcp_tool_calls:rate5m > 0)"
            wait_for(lambda: found.value(busy) == len(servers), 60, "every server has traffic")
            yield found


@pytest.fixture
def in_trouble(tmp_path: Path) -> Iterator[Stack]:
    """With a server too that the exporter starts, again and again if need be."""
    with _servers(tmp_path) as servers:
        # A hanging server is down before its calls count as stuck, as in production.
        servers["hanging"]["probe"] = {"interval": "2s", "timeout": "1s"}
        servers["dying"] = {
            "command": sys.executable,
            "args": ["-m", "mcp_servers.flaky", *_mode(tmp_path, "dying")],
            "probe": {"interval": "6s", "timeout": "5s"},
        }
        with _alerting(tmp_path, servers) as found:
            yield found


@pytest.fixture
def healthy(tmp_path: Path) -> Iterator[Stack]:
    """Servers that are not started again with the exporter: that would take its time."""
    with _servers(tmp_path) as servers, _alerting(tmp_path, servers) as found:
        yield found


def _alerts(found: Stack, server: str, status: str) -> set[str]:
    return {a["alertname"] for a in found.received.told(status) if a.get("server") == server}


def _mails(found: Stack, subject: str) -> list[EmailMessage]:
    return [mail for mail in list(found.received.mails) if mail["Subject"] == subject]


def _slack(found: Stack, title: str) -> list[Any]:
    messages = [hook.body["attachments"][0] for hook in found.received.at("/slack")]
    return [message for message in messages if message["title"] == title]


def _arrives_everywhere(found: Stack, subject: str, within: float = 60) -> None:
    """Wait for a mail and a Slack message of this subject."""
    try:
        wait_for(lambda: _mails(found, subject) and _slack(found, subject), within, subject)
    except AssertionError as error:
        mails = [mail["Subject"] for mail in found.received.mails]
        raise AssertionError(f"{error}\narrived: {mails}\nfiring: {found.firing()}") from error


def test_trouble_reaches_every_receiver_and_so_does_its_end(
    in_trouble: Stack, tmp_path: Path
) -> None:
    assert in_trouble.firing() == set()

    for server, mode in TROUBLE.items():
        _mode_file(tmp_path, server).write_text(mode)
    for server, (alert, summary) in EXPECTED.items():
        word = "CRITICAL" if alert == "MCPServerDown" else "WARNING"
        subject = f"[{word}] {summary}"
        _arrives_everywhere(in_trouble, subject)
        assert _alerts(in_trouble, server, "firing") == {alert}
    _check_messages(in_trouble)

    for server in TROUBLE:
        _mode_file(tmp_path, server).write_text("ok")
    for server, (alert, _) in EXPECTED.items():
        wait_for(
            lambda s=server, a=alert: a in _alerts(in_trouble, s, "resolved"),  # type: ignore[misc]
            90,
            f"{alert} of {server} is resolved",
        )
    subject = "[RESOLVED] MCP server hanging is down"
    _arrives_everywhere(in_trouble, subject)
    assert "RESOLVED MCP server hanging is down" in text(_mails(in_trouble, subject)[0])
    assert _slack(in_trouble, subject)[0]["color"] == "good"
    # What works all the while is never told of.
    assert not _alerts(in_trouble, "files", "firing")


def _check_messages(found: Stack) -> None:
    down = _mails(found, "[CRITICAL] MCP server hanging is down")[0]
    plain = text(down)
    assert re.search(r"^Server:    hanging$", plain, re.MULTILINE)
    assert re.search(r"^Value:     \d+ failures in a row$", plain, re.MULTILINE)
    assert "<td>hanging</td>" in text(down, "html")
    assert (down["From"], down["To"]) == ("from@test", "to@test")

    failing = text(_mails(found, "[WARNING] MCP tool ok of failing fails often")[0])
    assert re.search(r"^Server:    failing$", failing, re.MULTILINE)
    assert re.search(r"^Tool:      ok$", failing, re.MULTILINE)
    assert re.search(r"^Value:     [\d.]+% of calls in 15m$", failing, re.MULTILINE)
    _check_links(failing, "mcptoolerrorratio")

    slack = _slack(found, "[CRITICAL] MCP server dying is down")[0]
    assert "*Server:* dying" in slack["text"]
    assert "failures in a row" in slack["text"]
    assert re.search(r"<http://127\.0\.0\.1:3000/d/mcp-servers\?\S+\|Dashboard>", slack["text"])
    assert re.search(r"<http://\S+/consoles/runbook\.html#mcpserverdown\|Runbook>", slack["text"])
    assert slack["color"] == "danger"

    hooks = found.received.at("/webhook")
    assert {hook.authorization for hook in hooks} == {"Bearer the-token"}
    assert found.received.at("/watchdog"), "the Watchdog goes to a receiver of its own"
    assert "Watchdog" not in {a["alertname"] for a in found.received.told("firing")}


def _check_links(plain: str, anchor: str) -> None:
    runbook = re.search(r"^Runbook:   (\S+)$", plain, re.MULTILINE)
    assert runbook is not None
    assert runbook[1].endswith(f"/consoles/runbook.html#{anchor}")
    page = requests.get(runbook[1], timeout=60)
    assert page.ok
    assert f'id="{anchor}"' in page.text
    assert re.search(
        r"^Dashboard: http://127\.0\.0\.1:3000/d/mcp-tools\?.*var-tool=ok$", plain, re.M
    )


def test_a_killed_exporter_is_one_notification_and_not_one_a_server(healthy: Stack) -> None:
    healthy.lose_exporter()
    subject = "[CRITICAL] Every MCP exporter of mcp-exporter is down"
    _arrives_everywhere(healthy, subject)
    # As long as production's alerts about servers would take to notice: ten minutes.
    later = 600 // fast_rules.FACTOR
    began = healthy.value("vector(time())")
    wait_for(lambda: healthy.value("vector(time())") > began + later, 2 * later + 10, "time passes")
    assert [a["alertname"] for a in healthy.received.told("firing")] == ["MCPExporterAllDown"]
    assert [mail["Subject"] for mail in healthy.received.mails] == [subject]
    assert [m["title"] for m in _slack_all(healthy)] == [subject]

    healthy.return_exporter()
    over = subject.replace("CRITICAL", "RESOLVED")
    _arrives_everywhere(healthy, over)
    assert {a["alertname"] for a in healthy.received.told("firing")} == {"MCPExporterAllDown"}


def _slack_all(found: Stack) -> list[Any]:
    return [hook.body["attachments"][0] for hook in found.received.at("/slack")]
