"""A fake of the Kubernetes API server: lists and watches Services of a namespace, with a token.

It speaks what `mcp-exporter discover` asks for and no more; `make cluster` asks a real one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "a-token-of-the-service-account"


def service(namespace: str, name: str, **given: Any) -> dict[str, Any]:
    """A Service as the API server has it; ``scraped`` are annotations of ours."""
    notes = {f"mcp-exporter/{key}": value for key, value in given.get("scraped", {}).items()}
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": given.get("labels", {}),
            "annotations": notes | given.get("annotations", {}),
        },
        "spec": {
            "type": given.get("type", "ClusterIP"),
            "ports": given.get("ports", [{"port": 8000, "protocol": "TCP"}]),
        },
    }


class FakeKubernetes:
    """Services of one namespace, their changes, and the way to make it fail."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.is_away = False
        self._services: dict[str, dict[str, Any]] = {}
        self._events: list[tuple[int, str]] = []
        self._version = 1
        self._changed = Condition()

    def put(self, given: dict[str, Any]) -> None:
        """Add or change a Service."""
        name = given["metadata"]["name"]
        self._note("MODIFIED" if name in self._services else "ADDED", given)

    def delete(self, name: str) -> None:
        """Delete a Service."""
        self._note("DELETED", self._services[name])

    def go_away(self, *, is_away: bool = True) -> None:
        """End every watch and refuse to reply, or come back."""
        with self._changed:
            self.is_away = is_away
            self._changed.notify_all()

    def _note(self, kind: str, given: dict[str, Any]) -> None:
        with self._changed:
            self._version += 1
            given["metadata"]["resourceVersion"] = str(self._version)
            if kind == "DELETED":
                del self._services[given["metadata"]["name"]]
            else:
                self._services[given["metadata"]["name"]] = given
            text = json.dumps({"type": kind, "object": given}, ensure_ascii=False)
            self._events.append((self._version, text))
            self._changed.notify_all()

    def page(self, start: int, limit: int) -> dict[str, Any]:
        """A part of the list."""
        with self._changed:
            items = list(self._services.values())[start : start + limit]
            more = {"continue": str(start + limit)} if start + limit < len(self._services) else {}
            return {"metadata": {"resourceVersion": str(self._version), **more}, "items": items}

    def events(self, after: int) -> Iterator[str]:
        """What changed and changes after a version, until it goes away."""
        while True:
            with self._changed:
                while not self.is_away and self._version <= after:
                    self._changed.wait()
                found = [(number, text) for number, text in self._events if number > after]
                if self.is_away:
                    return
            for number, text in found:
                after = number
                yield text


@contextmanager
def serving(fake: FakeKubernetes) -> Iterator[str]:
    """Its URL, while it serves."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            asked = {key: values[0] for key, values in parse_qs(url.query).items()}
            if fake.is_away:
                self._reply(503, {"message": "away"})
            elif self.headers["Authorization"] != f"Bearer {TOKEN}":
                self._reply(401, {"message": "Unauthorized"})
            elif url.path != f"/api/v1/namespaces/{fake.namespace}/services":
                self._reply(403, {"message": "services is forbidden"})
            elif "watch" in asked:
                self._watch(int(asked["resourceVersion"]))
            else:
                self._reply(200, fake.page(int(asked.get("continue", 0)), int(asked["limit"])))

        def _watch(self, after: int) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            for text in fake.events(after):
                self.wfile.write(text.encode() + b"\n")
                self.wfile.flush()

        def _reply(self, status: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing: it is a fake."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        fake.go_away()
        server.shutdown()
        thread.join()
        server.server_close()
