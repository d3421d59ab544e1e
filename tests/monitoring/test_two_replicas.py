"""Two real exporters of one deployment are one thing to a real Prometheus and Alertmanager."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import fast_rules
from tests.support.alerting_stack import (
    Exporter,
    Stack,
    call_tool,
    prometheus_of,
    stack,
    value_of,
)
from tests.support.running import free_address, wait_for
from tests.support.scripted_server import serving

pytestmark = pytest.mark.e2e

FAULT = {"how": "fault"}
ROUND: tuple[tuple[int, dict[str, str]], ...] = ((0, {}),) * 7 + ((1, {}), (1, FAULT), (1, FAULT))
"""Ten calls: the number of the replica, and the arguments. One replica has all that fail."""
ROUNDS = 60
SECONDS_BETWEEN_ROUNDS = 0.5
BUDGET = 'server_objective:mcp_objective_budget_remaining:ratio_rate30d{objective="availability"}'
SPENT = 'server_objective:mcp_objective_errors:ratio_rate30d{objective="availability"}'


@contextmanager
def _everything(folder: Path) -> Iterator[tuple[Stack, Exporter, str]]:
    """Two replicas behind one Prometheus; and one exporter that is alone behind another."""
    with serving() as steady, serving() as wanting:
        servers = {
            "steady": {"url": steady.url},
            "wanting": {"url": wanting.url},
            "dead": {"url": f"http://{free_address()}/mcp"},
        }
        probe = {"interval": "2s", "timeout": "1s"}
        config: dict[str, Any] = {"servers": servers, "probe": probe}
        alone = folder / "alone"
        alone.mkdir()
        single = Exporter(alone, config)
        with (
            stack(folder, config, replicas=2) as found,
            single.running(),
            prometheus_of(alone, [single], alertmanager=free_address()) as other,
        ):
            yield found, single, other


def test_a_dead_server_is_told_once_and_the_budget_is_that_of_one_exporter(tmp_path: Path) -> None:
    with _everything(tmp_path) as (found, single, other):
        _is_told_once(found)
        _call_both(found, single)
        wait_for(lambda: _spent_alike(found.prometheus, other), 60, "the same budget")
        for prometheus in (found.prometheus, other):
            assert value_of(prometheus, f'{SPENT[:-1]},server="wanting"}}') == pytest.approx(
                0.2, abs=0.02
            )
        assert found.value("count(server_objective:mcp_objective_target:ratio)") == 2 * 3
        assert _of_the_dead(found) == ["MCPServerDown"]


def _is_told_once(found: Stack) -> None:
    subject = "[CRITICAL] MCP server dead is down"
    wait_for(lambda: found.received.mails, 90, subject)
    assert found.value("sum(max by (server) (mcp_server_up))") == 2
    assert found.value("count(max by (server) (mcp_server_up))") == 3
    assert found.value('count(mcp_server_health_state{server="dead",state="error"} == 1)') == 2
    # As long as a second message would take: production's interval of a group, twice.
    time.sleep(600 / fast_rules.FACTOR)
    assert [mail["Subject"] for mail in found.received.mails] == [subject]
    assert found.value('count(ALERTS{alertstate="firing",severity!="none"})') == 1
    assert _of_the_dead(found) == ["MCPServerDown"]


def _of_the_dead(found: Stack) -> list[str]:
    return [a["alertname"] for a in found.received.told("firing") if a.get("server") == "dead"]


def _call_both(found: Stack, single: Exporter) -> None:
    """The same calls spread over the replicas, and all through the exporter that is alone."""

    def through(number: int) -> None:
        for _ in range(ROUNDS):
            for replica, arguments in ROUND:
                exporter = found.exporters[replica] if number else single
                call_tool(exporter, "wanting", "act", arguments)
            time.sleep(SECONDS_BETWEEN_ROUNDS)

    threads = [threading.Thread(target=through, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _spent_alike(several: str, one: str) -> bool:
    budgets = [value_of(url, f'{BUDGET[:-1]},server="wanting"}}') for url in (several, one)]
    return budgets[0] < -100 and abs(budgets[0] / budgets[1] - 1) < 0.05
