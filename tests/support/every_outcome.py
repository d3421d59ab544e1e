"""Drives an exporter's traffic: first what goes well, then everything that can go wrong."""

from __future__ import annotations

import contextlib
import itertools
import json
import uuid
from typing import Any

import requests

from tests.support.scripted_server import SESSION

Json = dict[str, Any]

MODERN, LEGACY = "2026-07-28", "2025-11-25"
PATIENCE = 60.0
IMPATIENCE = 0.2
"""Seconds after which a client leaves a slow call."""


class Traffic:
    """A client of the exporter at ``url``, in both eras, with nothing that makes it polite."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self._ids = itertools.count(1)

    def well(self) -> None:
        """Calls that succeed, sessions that begin and end."""
        for _ in range(5):
            self.modern("scripted", "act", how="ok")
            self.modern("files", "list_files")
            self.modern("files", "read_file", path="welcome.txt")
        self._hold_session(how="ok")

    def trouble(self) -> None:
        """One or more calls for every outcome that is not ``ok``."""
        for how in ("fault", "ask", "slow", "hang up", "refuse", "babble", *5 * ("fail",)):
            self.modern("scripted", "act", how=how)
        self.modern("scripted", "an_invented_name")
        self.modern("flaky", "crash")
        self._leave(MODERN, {})
        self._hold_session(how="elicit")
        self._leave(LEGACY, {"Mcp-Session-Id": SESSION})
        self._be_refused()
        self.notify("notifications/roots/list_changed")

    def modern(self, server: str, tool: str, **arguments: Any) -> None:
        """One stateless call, as part of a trace."""
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": tool}
        envelope = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "modern", "version": "1"},
            "traceparent": f"00-{uuid.uuid4().hex}-00f067aa0ba902b7-01",
        }
        params = {"name": tool, "arguments": arguments, "_meta": envelope}
        self._post(server, self._request("tools/call", params), headers)

    def notify(self, method: str) -> None:
        """A notification of a session."""
        headers = {"MCP-Protocol-Version": LEGACY, "Mcp-Session-Id": SESSION}
        self._post("scripted", {"jsonrpc": "2.0", "method": method}, headers)

    def _hold_session(self, how: str) -> None:
        info = {"name": "legacy", "version": "1"}
        params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": info}
        self._post("scripted", self._request("initialize", params))
        headers = {"MCP-Protocol-Version": LEGACY, "Mcp-Session-Id": SESSION}
        self.notify("notifications/initialized")
        self._post("scripted", self._request("tools/list", {}), headers)
        call = self._request("tools/call", {"name": "act", "arguments": {"how": how}})
        reply = self._post("scripted", call, headers, stream=True)
        for line in reply.iter_lines():
            if b"elicitation/create" in line:
                answer = {"jsonrpc": "2.0", "id": "question", "result": {"action": "accept"}}
                self._post("scripted", answer, headers)
        self._session.delete(f"{self._url}/scripted/mcp", headers=headers, timeout=PATIENCE)

    def _leave(self, version: str, headers: dict[str, str]) -> None:
        """Start a slow call, and go before it is answered."""
        params: Json = {"name": "act", "arguments": {"how": "slow"}}
        if version == MODERN:
            headers = {"Mcp-Method": "tools/call", "Mcp-Name": "act"}
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        request = self._request("tools/call", params)
        headers = {"MCP-Protocol-Version": version, **headers}
        with contextlib.suppress(requests.Timeout):
            self._post("scripted", request, headers, timeout=IMPATIENCE)

    def _be_refused(self) -> None:
        ping = self._request("ping", {})
        self._post("nowhere", ping)
        self._post("scripted", ping, {"Origin": "http://elsewhere.example"})
        address = f"{self._url}/scripted/mcp"
        self._session.post(address, data=b"{not JSON", headers=_plain(), timeout=PATIENCE)

    def _request(self, method: str, params: Json) -> Json:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}

    def _post(
        self,
        server: str,
        body: Json,
        headers: dict[str, str] | None = None,
        *,
        stream: bool = False,
        timeout: float = PATIENCE,
    ) -> requests.Response:
        return self._session.post(
            f"{self._url}/{server}/mcp",
            data=json.dumps(body),
            headers={**_plain(), **(headers or {})},
            stream=stream,
            timeout=timeout,
        )


def _plain() -> dict[str, str]:
    accepted = "application/json, text/event-stream"
    return {"Content-Type": "application/json", "Accept": accepted}
