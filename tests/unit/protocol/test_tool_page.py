"""A page of tools is read as it came, bounded in number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.protocol import surrogates, tool_page
from exporter.protocol.tool_page import MAX_COMMAS, MAX_NAME, MAX_TOOLS, ToolPage, read_tools
from tests.support.fakes import encoded, error, result


def test_a_page_of_tools_is_read_with_its_cursor() -> None:
    tools = [{"name": "a", "inputSchema": {}}, {"name": "b"}]
    page = read_tools(encoded(result(1, tools=tools, nextCursor="more")))
    assert page == ({"a": b'{"name":"a","inputSchema":{}}', "b": b'{"name":"b"}'}, "more", False)


def test_the_last_page_of_tools_has_no_cursor() -> None:
    assert read_tools(encoded(result(1, tools=[]))) == ({}, None, False)


def test_a_tool_without_a_name_hides_no_other_tool() -> None:
    tools = [{"name": "a"}, {"title": "nameless"}, 5, {"name": 7}]
    assert read_tools(encoded(result(1, tools=tools))) == ({"a": b'{"name":"a"}'}, None, False)


def test_a_lone_surrogate_in_a_description_hides_no_tool() -> None:
    text = b'{"id":1,"result":{"tools":[{"name":"a","description":"\\ud83d"},{"name":"b"}]}}'
    page = read_tools(text)
    assert page is not None
    assert list(page.tools) == ["a", "b"]


@pytest.mark.parametrize("unit", [rb"\ud83d", rb"\uD83D"])
def test_a_page_with_halves_all_over_is_not_read(
    unit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool_page, "readable", None)
    described = b'{"name":"a","description":"%b"}' % (unit * (surrogates.MOST_ESCAPES + 1))
    page = b'{"id":1,"result":{"tools":[%b,{"name":"b"}]}}' % described
    assert read_tools(page) == ToolPage({}, is_cut=True)


def test_a_page_without_halves_is_gone_over_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_page, "readable", None)
    page = read_tools(rb'{"id":1,"result":{"tools":[{"name":"a","title":"\ud83d\ude00"}]}}')
    assert page is not None
    assert list(page.tools) == ["a"]


@pytest.mark.parametrize("reply", [result(1), error(1), result(1, tools=5), [], {}])
def test_what_lists_no_tools_is_no_page(reply: object) -> None:
    assert read_tools(encoded(reply)) is None


@pytest.mark.parametrize(("cursor", "is_cut"), [(5, True), ([], True), (None, False), ("", False)])
def test_a_cursor_that_is_no_text_ends_the_listing(cursor: object, is_cut: bool) -> None:
    page = read_tools(encoded(result(1, tools=[{"name": "a"}], nextCursor=cursor)))
    assert page is not None
    assert (list(page.tools), page.next_cursor or None, page.is_cut) == (["a"], None, is_cut)


def test_of_a_page_with_very_many_tools_some_are_read() -> None:
    page = read_tools(encoded(result(1, tools=[{"name": f"{n}"} for n in range(MAX_TOOLS + 1)])))
    assert page is not None
    assert (len(page.tools), page.is_cut) == (MAX_TOOLS, True)


def test_a_page_of_very_many_members_is_not_read() -> None:
    page = b'{"id":1,"result":{"tools":[%b1]}}' % (b"1," * (MAX_COMMAS + 1))
    assert read_tools(page) == ToolPage({}, is_cut=True)


@pytest.mark.parametrize("name", ["", "n" * (MAX_NAME + 1)])
def test_a_tool_without_a_usable_name_is_left_out(name: str) -> None:
    assert read_tools(encoded(result(1, tools=[{"name": name}]))) == ToolPage({})


@given(st.binary(max_size=200))
def test_nothing_makes_the_reader_fail(data: bytes) -> None:
    read_tools(data)
    read_tools(b'{"id":1,"result":{"tools":[%b]}}' % data)
