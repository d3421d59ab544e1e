"""What was put in front of a client's servers can be taken away from any later text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli.desktop import restore, rewrite
from exporter.cli.desktop.syntax import JSON, Syntax, syntax_of
from tests.unit.cli.desktop.test_rewrite import FILES, REMOTES, decoded, entries, rewritten, text_of


def restored(text: str, syntax: Syntax = JSON) -> str:
    return rewrite.exchange(text, restore.find(text, REMOTES, syntax))


def with_arguments(value: Any) -> Any:
    """A file in which every server has a list of arguments, as after it was wrapped."""
    for entry in entries(value).values():
        if "command" in entry:
            entry.setdefault("args", [])
    return value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_server_is_again_what_it_was(path: Path) -> None:
    syntax = syntax_of(path)
    after = decoded(restored(rewritten(text_of(path), syntax=syntax), syntax), path)
    assert after == with_arguments(decoded(text_of(path), path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_was_never_rewritten_stays(path: Path) -> None:
    assert restored(text_of(path), syntax_of(path)) == text_of(path)


@pytest.mark.parametrize(
    "text",
    [
        '{"mcpServers": {"x": {"command": "uvx", "args": ["a", "b"]}}}',
        '{"mcpServers": {"x": {"args": [\r\n\t"a", // 1\r\n\t"--", "b",\r\n], "command": "uvx"}}}',
        '{"servers": {"x": {"command": "\\u0075vx", "args": [ /* none */ ],},},}',
        '{"mcp.servers": {"docs": {"url": "https://learn.microsoft.com/api/mcp"}}}',
    ],
)
def test_a_text_with_lists_is_the_same_byte_for_byte(text: str) -> None:
    assert rewritten(text) != text
    found = restored(rewritten(text))
    assert found == text.replace("\\u0075", "u")


@pytest.mark.parametrize("args", ['["wrap", "x"]', '["wrap", "x", "--"]', '"wrap"', "[]"])
def test_a_wrapper_without_a_server_is_left_alone(args: str) -> None:
    text = f'{{"mcpServers": {{"x": {{"command": "mcp-exporter", "args": {args}}}}}}}'
    assert restored(text) == text


words = st.text(max_size=12)
servers = st.dictionaries(
    words,
    st.fixed_dictionaries(
        {"command": words},
        optional={"args": st.lists(words, max_size=4), "env": st.dictionaries(words, words)},
    ),
    max_size=3,
)


@given(servers, st.sampled_from([None, 1, "\t"]), st.booleans(), st.booleans())
def test_any_server_can_be_wrapped_once_and_taken_out(
    listed: dict[str, Any], indent: int | str | None, is_ascii: bool, has_windows_ends: bool
) -> None:
    before = {"mcpServers": listed, "other": [1, {"mcpServers": 2}]}
    text = json.dumps(before, indent=indent, ensure_ascii=is_ascii)
    text = text.replace("\n", "\r\n") if has_windows_ends else text
    once = rewritten(text)
    assert rewritten(once) == once
    after = json.loads(restored(once))
    for name, entry in after["mcpServers"].items():
        if not entry.get("args"):
            entry.pop("args", None)
        if not listed[name].get("args"):
            listed[name].pop("args", None)
    assert after == before
