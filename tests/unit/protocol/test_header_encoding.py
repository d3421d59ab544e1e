"""A header's text, plain or in base64."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.protocol.header_encoding import decoded


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_comes_through_in_base64(text: str) -> None:
    assert decoded(b"=?base64?%b?=" % base64.b64encode(text.encode())) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"read_file", "read_file"),
        (b"", ""),
        ("ü".encode(), "ü"),
        (b"=?base64?", "=?base64?"),
        (b"=?BASE64?eA==?=", "=?BASE64?eA==?="),
        (b"x=?base64?eA==?=", "x=?base64?eA==?="),
    ],
)
def test_any_other_text_is_itself(value: bytes, text: str) -> None:
    assert decoded(value) == text


@pytest.mark.parametrize(
    "value", [b"\xff", b"=?base64?!!!?=", b"=?base64?eA?=", b"=?base64?/w==?=", b"=?base64?\xff?="]
)
def test_what_cannot_be_read_is_none(value: bytes) -> None:
    assert decoded(value) is None
