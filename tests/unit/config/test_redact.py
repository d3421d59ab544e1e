"""No configured secret, and nothing that looks like one, is in what is shown."""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.model import HIDDEN, Server
from exporter.config.redact import Redactor, is_sensitive

PLAIN = Server("files", "http", url="http://127.0.0.1/mcp")


@pytest.mark.parametrize(
    ("server", "text", "shown"),
    [
        (
            Server("a", "http", url="http://h/mcp", headers={"Authorization": "Bearer sk-12345"}),
            "token sk-12345 of Bearer sk-12345 is bad",
            f"token {HIDDEN} of {HIDDEN} is bad",
        ),
        (
            Server("a", "http", url="http://h/mcp", headers={"X-Key": "hush"}),
            "hush, hushed",
            f"{HIDDEN}, {HIDDEN}ed",
        ),
        (
            Server("a", "stdio", command="x", env={"KEY": "s3cret", "LEVEL": "info"}),
            "info: s3cret",
            f"info: {HIDDEN}",
        ),
        (
            Server("a", "http", url="https://joe:pass%20word@h/mcp?key=abcdef&x=ghijkl"),
            "pass word, pass%20word, abcdef, ghijkl, key=abcdef&x=ghijkl",
            f"{HIDDEN}, {HIDDEN}, {HIDDEN}, {HIDDEN}, {HIDDEN}",
        ),
        (
            Server("a", "http", url="https://h/api/v1/s/0123456789abcdef0123/mcp"),
            "POST /api/v1/s/0123456789abcdef0123/mcp",
            f"POST /api/v1/s/{HIDDEN}/mcp",
        ),
        (
            Server("a", "stdio", command="x", args=("--api-key", "hushhush", "--root", "/data")),
            "hushhush /data",
            f"{HIDDEN} /data",
        ),
        (
            Server("a", "stdio", command="x", args=("--token=hushhush", "--level=debug2")),
            "hushhush debug2",
            f"{HIDDEN} debug2",
        ),
        (
            Server("a", "stdio", command="npx", args=("--header", "Authorization: Bearer hushes")),
            "sent hushes",
            f"sent {HIDDEN}",
        ),
        (
            Server("a", "stdio", command="npx", args=("remote", "https://h/mcp?token=hushes")),
            "GET /mcp?token=hushes",
            f"GET /mcp?{HIDDEN}",
        ),
        (
            Server("a", "stdio", command="x", env={"A": "secret-one", "B": "secret-one-more"}),
            "secret-one-more",
            HIDDEN,
        ),
    ],
)
def test_what_is_configured_is_hidden(server: Server, text: str, shown: str) -> None:
    assert Redactor(server)(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abcDEF123", f"Authorization: Bearer {HIDDEN}"),
        ("Authorization: Basic dXNlcjpwYXNz", f"Authorization: Basic {HIDDEN}"),
        ("GET /mcp?access_token=abc&x=1", f"GET /mcp?access_token={HIDDEN}&x=1"),
        ("https://joe:pw@host/mcp", f"https://{HIDDEN}@host/mcp"),
        ('{"accessToken": "abc", "n": 1}', f'{{"accessToken": "{HIDDEN}", "n": 1}}'),
        ('{"client_secret":"abc"}', f'{{"client_secret":"{HIDDEN}"}}'),
        ('{"password" : "abc"}', f'{{"password" : "{HIDDEN}"}}'),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, shown: str) -> None:
    assert Redactor(PLAIN)(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "bearer authentication is needed",
        'WWW-Authenticate: Bearer resource_metadata="http://h/.well-known/x"',
        '{"author": "me", "tokens": 5, "name": "basic things"}',
        "http://127.0.0.1:8000/mcp",
        "exited with code 1",
    ],
)
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert Redactor(PLAIN)(text) == text


def test_short_and_ordinary_values_are_not_looked_for() -> None:
    env = {"A": "1", "B": "abc", "C": "true", "D": "INFO", "E": ""}
    text = "1 abc true INFO"
    assert Redactor(Server("a", "stdio", command="x", env=env))(text) == text


LINES = "-----BEGIN KEY-----\nhunter2-line-0009\nhunter2-line-0010\n-----END KEY-----\n"
ODD = 'hunter2"/ünï+='


@pytest.mark.parametrize("secret", [LINES, ODD, "hunter2-plain", "token with blanks"])
@pytest.mark.parametrize(
    "form",
    [
        str,
        json.dumps,
        lambda text: json.dumps(text, ensure_ascii=False),
        lambda text: json.dumps(text).replace("/", "\\/"),
        quote,
        lambda text: quote(text, safe=""),
        quote_plus,
        lambda text: re.sub("%..", lambda match: match[0].lower(), quote_plus(text)),
        lambda text: b64encode(text.encode()).decode(),
        lambda text: urlsafe_b64encode(text.encode()).decode().rstrip("="),
    ],
)
def test_a_secret_is_hidden_in_every_form(secret: str, form: Callable[[str], str]) -> None:
    server = Server("a", "stdio", command="x", env={"KEY": secret})
    written = form(secret).strip('"')
    shown = Redactor(server)(f"said: {written} !")
    assert shown.replace(HIDDEN, "").replace("\n", "") in ("said:  !", "said: \\n !")


@pytest.mark.parametrize("before", ["", "u:", "us:", "use:", "user:"])
@pytest.mark.parametrize("after", ["", "!", "!!", "!!!"])
def test_a_secret_is_hidden_inside_a_longer_text_in_base64(before: str, after: str) -> None:
    server = Server("a", "stdio", command="x", env={"KEY": "hunter2-token"})
    written = b64encode(f"{before}hunter2-token{after}".encode()).decode()
    shown = Redactor(server)(written)
    assert HIDDEN in shown
    assert len(shown.replace(HIDDEN, "")) <= len(b64encode((before + after).encode())) + 4


def test_each_line_of_a_secret_is_hidden_alone() -> None:
    mask = Redactor(Server("a", "stdio", command="x", env={"KEY": LINES}))
    assert mask("key: hunter2-line-0010") == f"key: {HIDDEN}"


def test_what_came_from_a_variable_is_hidden_wherever_it_stands() -> None:
    server = Server(
        "a", "stdio", command="x", args=("-p", "hushhush"), secrets=frozenset({"hushhush"})
    )
    assert Redactor(server)("got hushhush") == f"got {HIDDEN}"


def test_a_secret_that_is_the_word_for_one_does_not_multiply() -> None:
    mask = Redactor(Server("a", "stdio", command="x", env={"A": "secret", "B": "secrets"}))
    assert mask("secrets, secret") == f"{HIDDEN}, {HIDDEN}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Authorization", True),
        ("X-Api-Key", True),
        ("Mcp-Session-Id", True),
        ("Set-Cookie", True),
        ("GITHUB_TOKEN", True),
        ("--password", True),
        ("WWW-Authenticate", False),
        ("Content-Type", False),
        ("Mcp-Method", False),
    ],
)
def test_names_tell_what_holds_a_secret(name: str, expected: bool) -> None:
    assert is_sensitive(name) is expected


@given(
    st.text(min_size=12, max_size=30, alphabet=st.characters(codec="ascii", categories=["L", "N"])),
    st.text(max_size=50),
    st.text(max_size=50),
)
def test_a_secret_shows_in_no_text(secret: str, before: str, after: str) -> None:
    server = Server("a", "http", url="http://h/mcp", headers={"X": secret})
    assert secret not in Redactor(server)(before + secret + after)


@pytest.mark.parametrize(
    "text",
    [
        '"' + "a" * 65_000,
        "bearer " * 9_000,
        "http://" * 9_000,
        '"' + "token" * 13_000,
        "?" * 65_000,
    ],
)
def test_hostile_text_takes_no_time(text: str) -> None:
    began = time.process_time()
    Redactor(PLAIN)(text)
    assert time.process_time() - began < 1.0
