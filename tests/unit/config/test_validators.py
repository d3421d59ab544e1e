"""Single values: durations, sizes, counts, URLs and headers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import validators
from exporter.config.document import Node, read
from exporter.config.errors import ConfigError


def node(value: object) -> Node:
    return read(json.dumps(value), "mcp.json", str)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("250ms", 0.25),
        ("3ms", 0.003),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1d", 86400.0),
        ("2w", 1209600.0),
        ("1y", 31536000.0),
        ("1d2h3m4s5ms", 93784.005),
        ("999999999s", 999999999.0),
    ],
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert validators.parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "s",
        "-5s",
        "+5s",
        "1.5h",
        "30 s",
        "30S",
        "1m1h",
        "5s5s",
        "٣s",
        "30s\n",
        "9" * 10 + "s",
    ],
)
def test_what_is_no_duration_is_rejected(text: str) -> None:
    with pytest.raises(ConfigError, match='is not a duration; write it like "30s"'):
        validators.parse_duration(text)


@pytest.mark.parametrize(("text", "mend"), [("30", "30s"), ("1.5", "1.5s"), ("00", "00s")])
def test_a_duration_without_a_unit_is_told_how(text: str, mend: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validators.parse_duration(text)
    assert str(caught.value) == f'"{text}" has no unit; write "{mend}"'


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90.0), (0, 0.0), (1, 1.0), (3600, 3600.0), (3601, 3.601), (600000, 600.0)],
)
def test_a_clients_timeout_is_seconds_or_milliseconds(written: object, seconds: float) -> None:
    assert validators.request_timeout(node(written)) == seconds


@pytest.mark.parametrize("written", [-1, 1.5, 1e300, True, "60", None, []])
def test_what_is_no_timeout_is_rejected(written: object) -> None:
    with pytest.raises(ConfigError):
        validators.request_timeout(node(written))


@pytest.mark.parametrize(
    ("written", "size"),
    [(1, 1), ("512", 512), ("1B", 1), ("2KiB", 2048), ("4 MiB", 4194304), ("1GiB", 1073741824)],
)
def test_a_size_is_bytes(written: object, size: int) -> None:
    assert validators.size_in_bytes(node(written)) == size


@pytest.mark.parametrize("written", [0, -1, 1.5, "1MB", "1mib", "MiB", "0KiB", "1  KiB", True])
def test_what_is_no_size_is_rejected(written: object) -> None:
    with pytest.raises(ConfigError, match="is not a size"):
        validators.size_in_bytes(node(written))


@pytest.mark.parametrize("written", [0, -1, 1.5, "many", 10**9, True])
def test_what_is_no_count_is_rejected(written: object) -> None:
    with pytest.raises(ConfigError, match="must be a whole number from 1"):
        validators.count(node(written))


@pytest.mark.parametrize(
    ("word", "meant"), [(True, True), ("yes", True), ("ON", True), (False, False), ("off", False)]
)
def test_a_boolean_is_any_of_yamls_words(word: object, meant: bool) -> None:
    assert validators.boolean(node(word)) is meant


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/mcp",
        "HTTPS://Example.com:8443",
        "http://127.0.0.1:8000/a/b?c=d&e=%20",
        "http://[::1]:8000/mcp",
        "https://user:pass@host/mcp",
    ],
)
def test_a_url_is_kept_as_written(url: str) -> None:
    assert validators.url(node(url)) == url


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://",
            "http://:80/",
            "http://h:0/",
            "http://h:99999/",
            "http://h:x/",
            "http://[::1/",
        ),
        *("http://é/", "http://h/a b", "http://h/\r\nX: y", "http://h/\t", "http://h/#a"),
    ],
)
def test_what_is_no_url_is_rejected(url: str) -> None:
    with pytest.raises(ConfigError, match=r"not a URL|a fragment is never sent"):
        validators.url(node(url))


@pytest.mark.parametrize("url", ["ftp://h/", "ws://h/", "unix:///run/mcp.sock", "h:80/mcp", "/mcp"])
def test_another_scheme_is_rejected(url: str) -> None:
    with pytest.raises(ConfigError, match='start it with "http://" or "https://"'):
        validators.url(node(url))


@pytest.mark.parametrize("name", ["", "A B", "A:", "Ä", "A\r\nB", "a/b"])
def test_what_is_no_header_name_is_rejected(name: str) -> None:
    with pytest.raises(ConfigError, match="not a header name"):
        validators.headers(node({name: "x"}).mapping())


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "\r\n", "a\x7f", "a\x1b", "é", "\u2028"])
def test_what_no_header_can_carry_is_rejected(value: str) -> None:
    with pytest.raises(ConfigError, match=r"line break|cannot carry"):
        validators.headers(node({"A": value}).mapping())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0"), (0.25, "250ms"), (10, "10s"), (90, "1m30s"), (5400, "1h30m"), (864_000, "10d")],
)
def test_a_duration_is_written_as_it_is_read(seconds: float, text: str) -> None:
    assert validators.format_duration(seconds) == text


@given(st.integers(0, 10**12))
def test_a_duration_that_was_written_is_read_back(milliseconds: int) -> None:
    text = validators.format_duration(milliseconds / 1000)
    assert validators.parse_duration(text) == milliseconds / 1000
