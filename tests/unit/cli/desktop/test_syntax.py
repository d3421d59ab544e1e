"""Strings are written as their file's syntax wants them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from exporter.cli.desktop.syntax import JSON, TOML, syntax_of

CHARACTERS = st.characters(exclude_categories=["Cs"])


@given(st.text(CHARACTERS))
def test_a_string_is_read_as_it_was_meant(text: str) -> None:
    assert tomllib.loads(f"x = {TOML.quoted(text)}") == {"x": text}
    assert json.loads(JSON.quoted(text)) == text


def test_the_name_of_a_file_says_its_syntax() -> None:
    assert syntax_of(Path("a/config.TOML")) is TOML
    assert syntax_of(Path("a/mcp.json")) is syntax_of(Path("settings")) is JSON


def test_an_empty_file_says_nothing() -> None:
    assert JSON.read(" // nothing\n") is None
