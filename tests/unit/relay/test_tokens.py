"""Tokens: whose is it, and what a file of them may look like."""

from __future__ import annotations

import hmac
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.errors import ConfigError
from exporter.relay import tokens
from exporter.relay.tokens import Tokens

LAPTOP = "0123456789abcdef"
CI = "fedcba9876543210.~+/-_=="
BOTH = Tokens({"laptop": LAPTOP, "ci": CI})


@pytest.mark.parametrize(
    ("header", "holder"),
    [
        (f"Bearer {LAPTOP}", "laptop"),
        (f"bearer {CI}", "ci"),
        (f"BEARER  {LAPTOP} ", "laptop"),
        (f"Bearer {LAPTOP}x", None),
        (f"Bearer {LAPTOP[:-1]}", None),
        (f"Basic {LAPTOP}", None),
        (f"Bearer{LAPTOP}", None),
        (LAPTOP, None),
        ("Bearer", None),
        ("Bearer ", None),
        ("", None),
    ],
)
def test_a_token_has_a_holder(header: str, holder: str | None) -> None:
    assert BOTH.holder(header.encode()) == holder


def test_nobody_holds_what_is_not_there() -> None:
    assert BOTH.holder(None) is None
    assert Tokens({}).holder(b"Bearer ") is None


@given(st.binary())
def test_whatever_is_sent_is_nobodys(junk: bytes) -> None:
    assert BOTH.holder(b"Bearer " + junk) is None


@pytest.mark.parametrize("token", [LAPTOP, CI, "neither of the two"])
def test_every_token_is_compared_whoever_holds_it(token: str) -> None:
    with patch.object(tokens, "compare_digest", wraps=hmac.compare_digest) as compare:
        BOTH.holder(b"Bearer " + token.encode())
    assert compare.call_count == 2
    assert {len(part) for call in compare.call_args_list for part in call.args} == {32}


def test_no_token_can_be_read_from_what_is_kept() -> None:
    assert LAPTOP not in repr(vars(BOTH))
    assert len(BOTH) == 2


@pytest.mark.parametrize(
    "text",
    [
        f"# who\nlaptop: {LAPTOP}\n\nci: {CI}\n",
        f"laptop: {LAPTOP}\r\nci: '{CI}'",
        f'{{"laptop": "{LAPTOP}", "ci": "{CI}"}}',
    ],
)
def test_a_file_names_its_tokens(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    assert tokens.secrets(path) == {"laptop": LAPTOP, "ci": CI}
    assert tokens.load(path).holder(f"Bearer {CI}".encode()) == "ci"


def test_a_token_that_looks_like_a_number_is_taken_as_it_is_written() -> None:
    assert tokens.parse("one: 00123456789012345678\n", "f") == {"one": "00123456789012345678"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "f: is empty; add a token's name with its token"),
        ("# none\n", "f: is empty; add"),
        ("{}", "f:1: no tokens; add"),
        (LAPTOP, "f:1: must be a mapping, not a string"),
        (f"- {LAPTOP}", "f:1: must be a mapping, not a list"),
        (f"a: {LAPTOP}\nb: {LAPTOP}", "f:2: has the same token as another name; make one for each"),
        (f"a: {LAPTOP}\na: {CI}", "f:2: a: written twice, first on line 1; keep one"),
        ("a: short", "f:1: has less than 16 characters; make one: openssl rand -hex 32"),
        ("a:", "f:1: must be a single value, not null"),
        ("a: [x]", "f:1: must be a single value, not a list"),
        (f"a: {LAPTOP} {CI}", "f:1: is not a bearer token; use letters, digits"),
        (f"a: '{LAPTOP}\u00e9'", "f:1: is not a bearer token"),
        (f"a: {'x' * 4097}", "f:1: is not a bearer token"),
        (f"{'n' * 65}: {LAPTOP}", "f:1: a token's name must have 1 to 64 visible characters"),
        (f"'': {LAPTOP}", "f:1: a token's name must have 1 to 64 visible characters"),
    ],
)
def test_a_mistake_is_one_line_without_the_token(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tokens.parse(text, "f")
    assert str(caught.value).startswith(problem)
    assert LAPTOP not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whoever_swaps_name_and_token_is_not_quoted() -> None:
    with pytest.raises(ConfigError) as caught:
        tokens.parse(f"{LAPTOP}: laptop", "f")
    assert LAPTOP not in str(caught.value)
