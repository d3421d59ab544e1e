"""A mail server for one machine: takes every mail, shows it in the terminal and keeps it.

python -m demo.inbox --listen 127.0.0.1:1025 --keep FOLDER
"""

from __future__ import annotations

import argparse
import asyncio
import email
import email.policy
import html
import re
import signal
import time
from email.message import EmailMessage
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from demo.terminal import say

LINES_SHOWN = 40


class Inbox:
    """Keeps mails as files, and shows them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802, the library's names
        """Take one mail; the reply is SMTP's."""
        content = envelope.original_content or b""
        path = self._folder / f"{time.time_ns()}.eml"
        path.write_bytes(content)
        say(shown(content, path))
        return "250 kept"


def shown(content: bytes, path: Path) -> str:
    """Return a mail as lines for the terminal."""
    mail = email.message_from_bytes(content, policy=email.policy.default)
    lines = _text(mail).strip().splitlines()
    body = [f"  | {line.rstrip()}".rstrip() for line in lines[:LINES_SHOWN]]
    if len(lines) > LINES_SHOWN:
        body.append("  | ...")
    return "\n".join(["", f"Mail to {mail['To']}: {mail['Subject']}", *body, f"  kept as {path}"])


def _text(mail: EmailMessage) -> str:
    part = mail.get_body(("plain", "html"))
    if part is None:
        return ""
    text: str = part.get_content()
    return _from_html(text) if part.get_content_subtype() == "html" else text


def _from_html(source: str) -> str:
    """Return the words of a page, a line each. Only what Alertmanager sends has to be readable."""
    source = re.sub(r"(?is)<(style|script|head)\b.*?</\1>", "", source)
    words = html.unescape(re.sub(r"<[^>]*>", "\n", source))
    lines = (" ".join(line.split()) for line in words.splitlines())
    return "\n".join(line for line in lines if line)


async def _serve(host: str, port: int, folder: Path) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    inbox = Inbox(folder)
    server = await loop.create_server(lambda: SMTP(inbox, loop=loop), host, port)
    async with server:
        await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.inbox")
    parser.add_argument("--listen", default="127.0.0.1:1025", metavar="HOST:PORT")
    parser.add_argument("--keep", type=Path, default=Path("build/mail"), metavar="FOLDER")
    chosen = parser.parse_args()
    host, _, port = chosen.listen.rpartition(":")
    asyncio.run(_serve(host, int(port), chosen.keep))


if __name__ == "__main__":
    main()
