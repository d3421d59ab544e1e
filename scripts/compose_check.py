"""Tries docker-compose.yml on a real engine: `python3 -m scripts.compose_check`.

Builds and starts it, looks at every container and every port, calls a tool through the exporter,
follows its exemplar to its trace, sends an alert to the inbox, takes all down and up again and
looks whether anything was lost. It is a project of its own: a stack that already runs keeps its
containers and its data. At the end only the images are left. Needs a Docker engine with `docker
compose` or docker-compose 1.29, and nothing outside Python's standard library. Exit code 0 means
that everything held.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from scripts.compose_stack import CheckError, Stack, found, say, see

PROJECT = "mcp-exporter-check"
SERVICES = ("exporter", "prometheus", "alertmanager", "grafana", "mailpit", "jaeger")
PORTS = {
    "MCP_PORT": 6279,
    "MCP_WEB_PORT": 6280,
    "PROMETHEUS_PORT": 9090,
    "ALERTMANAGER_PORT": 9093,
    "GRAFANA_PORT": 3000,
    "MAILPIT_PORT": 8025,
    "JAEGER_PORT": 16686,
}
MCP_SERVERS = {"echo", "files", "flaky"}
FIRST_CALL: tuple[str, dict[str, str]] = ("list_files", {})
SECOND_CALL = ("read_file", {"path": "welcome.txt"})
VERSION = "2026-07-28"
ALERT = "ComposeCheck"
SUMMARY = "A trial of the way to the inbox"
SECONDS_TO_HEALTH = 180
SECONDS_TO_SEE = 120
LINES_OF_LOG = "20"
KEPT = "kept over down and up"


def main() -> int:
    options = _options()
    os.environ.setdefault("GRAFANA_ADMIN_PASSWORD", secrets.token_urlsafe())
    try:
        stack = found(PROJECT, [s for s in SERVICES if s not in options.without], PORTS)
        stack.run("config", "--quiet")
        try:
            _check(stack, build=not options.no_build)
        except CheckError:
            stack.run("logs", "--tail", LINES_OF_LOG)
            raise
        finally:
            if not options.keep:
                stack.run("down", "--volumes")
    except CheckError as reason:
        say(f"FAILED: {reason}")
        return 1
    say("Everything held.")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Tries docker-compose.yml on a real engine.")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=SERVICES,
        metavar="SERVICE",
        help="leave a service out whose image cannot be had; may be given again",
    )
    parser.add_argument("--no-build", action="store_true", help="take the image that is there")
    parser.add_argument("--keep", action="store_true", help="leave the stack running")
    return parser.parse_args()


def _check(stack: Stack, *, build: bool) -> None:
    if build:
        stack.run("build", "exporter")
    _start(stack)
    for service in stack.services:
        confined(service, stack.inspect(service))
    see("targets that are up", partial(_targets, stack), SECONDS_TO_SEE)
    see("MCP servers that are up", partial(_servers, stack), SECONDS_TO_SEE)
    calls = _call(stack, *FIRST_CALL)
    now = time.time()
    if "jaeger" in stack.services:
        see("trace of a call in Jaeger", partial(_trace, stack), SECONDS_TO_SEE)
    subject = _alert(stack)
    silence = _silence(stack)
    if "grafana" in stack.services:
        see("dashboards in Grafana", partial(_dashboards, stack), SECONDS_TO_SEE)
        for uid in ("prometheus", "jaeger"):
            if uid in stack.services:
                see(f"{uid} in Grafana", partial(_data_source, stack, uid), SECONDS_TO_SEE)
    _ends_well(stack)
    stack.run("down")
    _start(stack)
    _same(f"calls {KEPT}", calls, _calls(stack, FIRST_CALL[0], now))
    _same(f"silence {KEPT}", silence, _active_silence(stack))
    if "mailpit" in stack.services:
        _same(f"mail {KEPT}", subject, _mail(stack))
    _call(stack, *SECOND_CALL)


def _start(stack: Stack) -> None:
    stack.run("up", "--detach", *stack.services)
    for service in stack.services:
        see(service, partial(_healthy, stack, service), SECONDS_TO_HEALTH)


def _healthy(stack: Stack, service: str) -> str:
    state = stack.inspect(service)["State"]
    if state["Health"]["Status"] != "healthy":
        log = state["Health"].get("Log") or [{}]
        raise CheckError(
            f"{state['Status']}, {state['Health']['Status']}: {log[-1].get('Output', '')}"
        )
    return "healthy"


def confined(service: str, container: Mapping[str, Any]) -> None:
    """What is true of the container and not only written in the file."""
    host = container["HostConfig"]
    published = [p for ports in (host["PortBindings"] or {}).values() for p in ports or []]
    wrong = {
        "runs as root": container["Config"]["User"].partition(":")[0] in {"", "0", "root"},
        "keeps capabilities": host["CapDrop"] != ["ALL"],
        "may gain privileges": "no-new-privileges:true" not in (host["SecurityOpt"] or []),
        "can write to its image": not host["ReadonlyRootfs"],
        "is open to the network": any(p["HostIp"] != "127.0.0.1" for p in published),
    }
    if any(wrong.values()):
        raise CheckError(f"{service} {' and '.join(what for what, so in wrong.items() if so)}")
    ports = ", ".join(f"{p['HostIp']}:{p['HostPort']}" for p in published) or "none"
    say(f"         {service}: user {container['Config']['User']}, published ports: {ports}")


def _targets(stack: Stack) -> list[str]:
    targets = stack.ask("PROMETHEUS_PORT", "/api/v1/targets?state=active")["data"]["activeTargets"]
    down = [f"{t['labels']['job']} ({t['lastError']})" for t in targets if t["health"] != "up"]
    if down:
        raise CheckError(f"down or not yet scraped: {', '.join(down)}")
    return sorted(t["labels"]["job"] for t in targets)


def _servers(stack: Stack) -> list[str]:
    up = {s["metric"]["server"] for s in _query(stack, "mcp_server_up == 1")}
    if up != MCP_SERVERS:
        raise CheckError(f"up are {sorted(up)}, expected {sorted(MCP_SERVERS)}")
    return sorted(up)


def _call(stack: Stack, tool: str, arguments: Mapping[str, str]) -> int:
    """Call the tool with one stateless POST, which is all that MCP 2026-07-28 needs, and return
    how often Prometheus then says that it was called."""
    about = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    parameters = {"name": tool, "arguments": arguments, "_meta": about}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": parameters}
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": VERSION,
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }
    reply = stack.ask("MCP_PORT", "/files/mcp", call, headers)
    if "result" not in reply or reply["result"].get("isError"):
        raise CheckError(f"{tool} answered {reply}")
    say(f"         {tool} through the exporter: {reply['result']['content'][0]['text']!r:.70}")
    return see(f"calls of {tool} in Prometheus", partial(_calls, stack, tool), SECONDS_TO_SEE)


def _calls(stack: Stack, tool: str, at: float | None = None) -> int:
    query = f'sum(mcp_tool_calls_total{{server="files",tool="{tool}",outcome="ok"}})'
    found = _query(stack, query, at)
    return int(float(found[0]["value"][1])) if found else 0


def _query(stack: Stack, query: str, at: float | None = None) -> list[dict[str, Any]]:
    words = {"query": query} | ({} if at is None else {"time": f"{at:.3f}"})
    reply = stack.ask("PROMETHEUS_PORT", f"/api/v1/query?{urlencode(words)}")
    series: list[dict[str, Any]] = reply["data"]["result"]
    return series


def _trace(stack: Stack) -> str:
    """The span that the exemplar of the first call leads to."""
    series = f'mcp_tool_call_duration_seconds_bucket{{server="files",tool="{FIRST_CALL[0]}"}}'
    now = time.time()
    words = {"query": series, "start": f"{now - SECONDS_TO_SEE:.3f}", "end": f"{now:.3f}"}
    reply = stack.ask("PROMETHEUS_PORT", f"/api/v1/query_exemplars?{urlencode(words)}")
    labels = [e["labels"] for one in reply["data"] for e in one["exemplars"]]
    if not labels:
        raise CheckError("Prometheus has no exemplar of the call")
    traces = stack.ask("JAEGER_PORT", f"/api/traces/{labels[-1]['trace_id']}")["data"]
    named = {s["spanID"]: str(s["operationName"]) for trace in traces for s in trace["spans"]}
    return named.get(labels[-1]["span_id"], "")


def _alert(stack: Stack) -> str:
    labels = {"alertname": ALERT, "severity": "critical", "job": "mcp-exporter", "server": "files"}
    notes = {"summary": SUMMARY, "description": "Nothing is wrong."}
    stack.ask("ALERTMANAGER_PORT", "/api/v2/alerts", [{"labels": labels, "annotations": notes}])
    if "mailpit" not in stack.services:
        return ""
    return see("mail in the inbox", partial(_mail, stack), SECONDS_TO_SEE)


def _mail(stack: Stack) -> str:
    mails = stack.ask("MAILPIT_PORT", "/api/v1/messages")["messages"]
    return next((str(m["Subject"]) for m in mails if SUMMARY in m["Subject"] + m["Snippet"]), "")


def _silence(stack: Stack) -> str:
    now = datetime.now(UTC)
    silence = {
        "matchers": [{"name": "alertname", "value": ALERT, "isRegex": False}],
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(hours=1)).isoformat(),
        "createdBy": PROJECT,
        "comment": "is it kept?",
    }
    return str(stack.ask("ALERTMANAGER_PORT", "/api/v2/silences", silence)["silenceID"])


def _active_silence(stack: Stack) -> str:
    silences = stack.ask("ALERTMANAGER_PORT", "/api/v2/silences")
    return next((s["id"] for s in silences if s["status"]["state"] == "active"), "")


def _dashboards(stack: Stack) -> list[str]:
    return [d["title"] for d in stack.ask("GRAFANA_PORT", "/api/search?type=dash-db")]


def _data_source(stack: Stack, uid: str) -> str:
    """What the plugin itself says: it may be gone while the dashboards are still there."""
    password = os.environ["GRAFANA_ADMIN_PASSWORD"]
    login = b64encode(f"admin:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {login}"}
    path = f"/api/datasources/uid/{uid}/health"
    return str(stack.ask("GRAFANA_PORT", path, headers=headers)["status"])


def _ends_well(stack: Stack) -> None:
    """Stopped, the exporter ends by itself: not killed at the end of its grace period."""
    stack.run("stop", "exporter")
    _same("exit code of the stopped exporter", 0, stack.inspect("exporter")["State"]["ExitCode"])


def _same(what: str, expected: object, actual: object) -> None:
    if actual != expected:
        raise CheckError(f"{what}: expected {expected!r}, found {actual!r}")
    say(f"         {what}: {actual}")


if __name__ == "__main__":
    sys.exit(main())
