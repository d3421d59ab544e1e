"""Where notifications arrive in the end-to-end tests: a mail server and an HTTP server."""

from __future__ import annotations

import email
import email.policy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.running import free_address


@dataclass(frozen=True)
class Hook:
    """One message that came over HTTP."""

    path: str
    authorization: str | None
    body: Any


@dataclass
class Receivers:
    """What has arrived so far, in order."""

    smtp: str
    http: str
    mails: list[EmailMessage] = field(default_factory=list)
    hooks: list[Hook] = field(default_factory=list)

    def secrets(self) -> dict[str, str]:
        """The secret files that make Alertmanager send everything here."""
        mail = f"smarthost: {self.smtp}\nfrom: from@test\nto: to@test\nrequire_tls: false\n"
        return {
            "smtp": mail,
            "slack_url": f"{self.http}/slack",
            "webhook_url": f"{self.http}/webhook",
            "webhook_token": "the-token",
            "watchdog_url": f"{self.http}/watchdog",
        }

    def at(self, path: str) -> list[Hook]:
        """What came to one path."""
        return [hook for hook in list(self.hooks) if hook.path == path]

    def told(self, status: str) -> list[dict[str, str]]:
        """The labels of every alert that the webhook got with this status, in order."""
        return [
            alert["labels"]
            for hook in self.at("/webhook")
            for alert in hook.body["alerts"]
            if alert["status"] == status
        ]

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802 - the library's names
        """Take one mail."""
        content = envelope.original_content or b""
        self.mails.append(email.message_from_bytes(content, policy=email.policy.default))
        return "250 kept"


def text(mail: EmailMessage, kind: str = "plain") -> str:
    """The plain or the HTML text of a mail, its lines ended as Python ends them."""
    part = mail.get_body((kind,))
    assert part is not None, f"no {kind} part"
    content: str = part.get_content()
    return content.replace("\r\n", "\n")


@contextmanager
def receivers() -> Iterator[Receivers]:
    """Both servers, on loopback."""
    smtp = free_address()
    found = Receivers(smtp=smtp, http="")
    web = ThreadingHTTPServer(("127.0.0.1", 0), _handler(found))
    found.http = f"http://127.0.0.1:{web.server_port}"
    threading.Thread(target=web.serve_forever, daemon=True).start()
    host, _, port = smtp.rpartition(":")
    mail = Controller(found, hostname=host, port=int(port))
    mail.start()
    try:
        yield found
    finally:
        mail.stop()
        web.shutdown()
        web.server_close()


def _handler(found: Receivers) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.hooks.append(Hook(self.path, self.headers["Authorization"], body))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    return Handler
