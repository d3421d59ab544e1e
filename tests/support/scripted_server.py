"""An MCP server over HTTP that does on demand what real servers do by accident.

It speaks both eras and has one tool, ``act``, whose argument ``how`` names what happens to the
call, and one that nobody calls.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]

SECONDS_TO_ELICIT = 5
SESSION = "scripted-session"
INFO = {"name": "scripted", "version": "1.2.3"}


class Scripted(ThreadingHTTPServer):
    """The server, on a free port."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.is_down = False
        """While it is down, it hangs up on everybody."""
        self.description = "Does as it is told."
        self.elicited = threading.Event()
        self.slowness = 2.0
        """Seconds that a slow call takes."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/mcp"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Scripted

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.is_down:
            self._hang_up()
        elif "method" not in body:
            self.server.elicited.set()
            self._respond(202, b"")
        elif "id" not in body:
            self._respond(202, b"")
        else:
            self._answer(body)

    def do_GET(self) -> None:
        self._respond(405, b"")

    def do_DELETE(self) -> None:
        self._respond(200, b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        """Say nothing: pytest's output is for failures."""

    def _answer(self, request: Json) -> None:
        if request["method"] == "tools/call":
            how = request["params"].get("arguments", {}).get("how", "ok")
            BEHAVIOURS[how](self, request["id"])
            return
        result = {
            "server/discover": self._discovery,
            "initialize": self._greeting,
            "tools/list": self._tools,
        }.get(request["method"], dict)()
        self._reply(request["id"], {"result": {"resultType": "complete", **result}})

    def _discovery(self) -> Json:
        return {
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}},
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": {"io.modelcontextprotocol/serverInfo": INFO},
        }

    def _greeting(self) -> Json:
        version = "2025-11-25"
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": INFO}

    def _tools(self) -> Json:
        schema = {"type": "object"}
        act = {"name": "act", "description": self.server.description, "inputSchema": schema}
        idle = {"name": "idle", "description": "Nobody calls it.", "inputSchema": schema}
        return {"tools": [act, idle], "ttlMs": 0, "cacheScope": "private"}

    def _reply(self, request_id: Any, answer: Json) -> None:
        document = {"jsonrpc": "2.0", "id": request_id, **answer}
        self._respond(200, json.dumps(document).encode(), "application/json")

    def _respond(self, status: int, body: bytes, kind: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Mcp-Session-Id", SESSION)
        if kind:
            self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True

    def _ok(self, request_id: Any) -> None:
        self._reply(request_id, {"result": {"content": [{"type": "text", "text": "done"}]}})

    def _fail(self, request_id: Any) -> None:
        content = [{"type": "text", "text": "no"}]
        self._reply(request_id, {"result": {"isError": True, "content": content}})

    def _fault(self, request_id: Any) -> None:
        self._reply(request_id, {"error": {"code": -32603, "message": "inside"}})

    def _ask(self, request_id: Any) -> None:
        self._reply(request_id, {"result": {"resultType": "input_required", "inputRequests": {}}})

    def _be_slow(self, request_id: Any) -> None:
        time.sleep(self.server.slowness)
        self._ok(request_id)

    def _hang_up_on(self, _: Any) -> None:
        self._hang_up()

    def _refuse(self, _: Any) -> None:
        self._respond(401, b"")

    def _babble(self, _: Any) -> None:
        self._respond(200, b"{this is not JSON", "application/json")

    def _elicit(self, request_id: Any) -> None:
        """Report progress, ask the client something, and reply when it has answered."""
        self.server.elicited.clear()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self._event("notifications/progress", {"progressToken": 1, "progress": 1})
        self._event("elicitation/create", {"message": "Sure?"}, id="question")
        self.server.elicited.wait(SECONDS_TO_ELICIT)
        self._write({"jsonrpc": "2.0", "id": request_id, "result": {"content": []}})
        self._hang_up()

    def _event(self, method: str, params: Json, **more: Any) -> None:
        self._write({"jsonrpc": "2.0", "method": method, "params": params, **more})

    def _write(self, message: Json) -> None:
        self.wfile.write(f"data: {json.dumps(message)}\n\n".encode())
        self.wfile.flush()


BEHAVIOURS: dict[str, Callable[[Handler, Any], None]] = {
    "ok": Handler._ok,
    "fail": Handler._fail,
    "fault": Handler._fault,
    "ask": Handler._ask,
    "slow": Handler._be_slow,
    "hang up": Handler._hang_up_on,
    "refuse": Handler._refuse,
    "babble": Handler._babble,
    "elicit": Handler._elicit,
}


@contextmanager
def serving() -> Iterator[Scripted]:
    """The server, until the end of the block."""
    with Scripted() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
