"""The demo's inbox takes mails, keeps them and shows them."""

from __future__ import annotations

import smtplib
import subprocess
import sys
import time
from email.message import EmailMessage
from pathlib import Path

import pytest

from demo import addresses, inbox


def _mail(subject: str, text: str, page: str | None = None) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "a@localhost", "b@localhost", subject
    mail.set_content(text)
    if page is not None:
        mail.add_alternative(page, subtype="html")
    return mail


def test_subject_receiver_and_text_are_shown() -> None:
    shown = inbox.shown(bytes(_mail("Down", "files is down\nsince now")), Path("kept.eml"))
    assert shown.splitlines() == [
        "",
        "Mail to b@localhost: Down",
        "  | files is down",
        "  | since now",
        "  kept as kept.eml",
    ]


def test_the_plain_text_is_preferred_to_the_page() -> None:
    shown = inbox.shown(bytes(_mail("Down", "plain", "<p>page</p>")), Path("kept.eml"))
    assert "plain" in shown
    assert "page" not in shown


def test_of_a_page_alone_the_words_are_shown() -> None:
    mail = EmailMessage()
    mail["To"], mail["Subject"] = "b@localhost", "Down"
    page = "<html><head><style>p {}</style></head><p>a &amp; <b>b</b></p><br/>\n<p> c </p></html>"
    mail.set_content(page, subtype="html")
    lines = inbox.shown(bytes(mail), Path("kept.eml")).splitlines()
    assert lines[2:-1] == ["  | a &", "  | b", "  | c"]


def test_a_long_mail_is_cut_in_the_terminal() -> None:
    text = "\n".join(str(number) for number in range(1000))
    shown = inbox.shown(bytes(_mail("Long", text)), Path("kept.eml")).splitlines()
    assert shown[-2] == "  | ..."
    assert len(shown) == inbox.LINES_SHOWN + 4


def test_a_mail_without_any_text_is_shown_by_its_subject() -> None:
    assert "Mail to b@localhost: Empty" in inbox.shown(bytes(_mail("Empty", "")), Path("x"))


@pytest.mark.e2e
def test_a_mail_that_was_sent_is_shown_and_kept(tmp_path: Path) -> None:
    address = addresses.choose({"inbox": 0})["inbox"]
    command = [sys.executable, "-m", "demo.inbox", "--listen", address, "--keep", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            _send(address, _mail("Down", "files is down"))
        finally:
            process.terminate()
            shown, _ = process.communicate(timeout=20)
    assert "Mail to b@localhost: Down" in shown
    (kept,) = tmp_path.glob("*.eml")
    assert b"files is down" in kept.read_bytes()
    assert process.returncode == 0


def _send(address: str, mail: EmailMessage) -> None:
    given_up = time.monotonic() + 20
    while not addresses.accepts(address):
        assert time.monotonic() < given_up, "the inbox does not listen"
        time.sleep(0.05)
    with smtplib.SMTP("127.0.0.1", addresses.port(address), timeout=10) as client:
        client.send_message(mail)
