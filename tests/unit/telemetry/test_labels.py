"""No peer can invent label values: they come from the specification and from servers' own lists."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.protocol import errors
from exporter.protocol.spec import METHODS
from exporter.telemetry.labels import (
    Clients,
    ToolBudget,
    Tools,
    code_label,
    method_label,
    version_label,
)


class Overflows(Counter[str]):
    """Counts what is folded, by label."""

    def __call__(self, label: str) -> None:
        self[label] += 1


def make_tools(limit: int = 10, total: int = 100) -> tuple[Tools, Overflows]:
    overflows = Overflows()
    return Tools(limit, ToolBudget(total), overflows), overflows


@given(st.text() | st.none())
def test_a_method_that_the_specification_lacks_is_other(method: str | None) -> None:
    assert method_label(method) == (method if method in METHODS else "_other")


def test_a_method_of_the_specification_is_itself() -> None:
    assert {method_label(method) for method in METHODS} == METHODS


def test_a_protocol_version_is_a_published_one_or_other() -> None:
    assert version_label("2024-11-05") == "2024-11-05"
    assert version_label("2026-07-28") == "2026-07-28"
    assert version_label("2099-01-01") == "_other"
    assert version_label(None) == "_other"


def test_a_code_is_a_known_one_or_other() -> None:
    assert {code_label(code) for code in errors.CODES} == {str(code) for code in errors.CODES}
    assert code_label(-32600.0) == "-32600"
    assert code_label(-32600.5) == "other"
    assert code_label(404) == "other"
    assert code_label(float("nan")) == "other"


def test_a_client_is_known_by_its_name() -> None:
    overflows = Overflows()
    clients = Clients(2, overflows)
    assert [clients.label(name) for name in ("a", "b", "a")] == ["a", "b", "a"]
    assert not overflows


def test_clients_past_the_limit_are_other_and_the_early_ones_stay() -> None:
    overflows = Overflows()
    clients = Clients(2, overflows)
    names = ["a", "b", "c", "d", "a"]
    assert [clients.label(name) for name in names] == ["a", "b", "_other", "_other", "a"]
    assert overflows == {"client": 2}


@pytest.mark.parametrize("name", ["x" * 65, "tab\t", "line\nend", "_other", "_mine", "\ud800"])
def test_a_client_name_that_is_unfit_is_other_and_takes_no_place(name: str) -> None:
    overflows = Overflows()
    clients = Clients(1, overflows)
    assert clients.label(name) == "_other"
    assert overflows == {"client": 1}
    assert clients.label("x" * 64) == "x" * 64


@pytest.mark.parametrize("name", [None, ""])
def test_a_client_without_name_is_other_and_no_overflow(name: str | None) -> None:
    overflows = Overflows()
    assert Clients(1, overflows).label(name) == "_other"
    assert not overflows


def test_a_tool_is_other_until_its_server_lists_it() -> None:
    tools, overflows = make_tools()
    assert tools.label("read_file") == "_other"
    assert overflows == {"tool": 1}
    assert tools.admit(["read_file"]) == ["read_file"]
    assert tools.label("read_file") == "read_file"
    assert overflows == {"tool": 1}


def test_a_call_without_a_tool_is_other() -> None:
    tools, overflows = make_tools()
    assert tools.label(None) == "_other"
    assert overflows == {"tool": 1}


def test_admitting_a_tool_again_adds_nothing() -> None:
    tools, _ = make_tools()
    assert tools.admit(["a", "b", "a"]) == ["a", "b"]
    assert tools.admit(["b", "c"]) == ["c"]


def test_invented_names_take_no_tools_place() -> None:
    tools, _ = make_tools(limit=1)
    for number in range(100):
        tools.label(f"invented_{number}")
    assert tools.admit(["real"]) == ["real"]


def test_a_server_has_no_more_tools_than_its_limit() -> None:
    tools, overflows = make_tools(limit=2)
    assert tools.admit(["a", "b", "c"]) == ["a", "b"]
    assert tools.label("c") == "_other"
    assert overflows == {"tool": 2}


def test_all_servers_share_one_budget_and_give_it_back() -> None:
    overflows, budget = Overflows(), ToolBudget(3)
    first, second = Tools(10, budget, overflows), Tools(10, budget, overflows)
    first.admit(["a", "b"])
    assert second.admit(["c", "d"]) == ["c"]
    first.forget()
    assert second.admit(["d", "e", "f"]) == ["d", "e"]
    assert first.label("a") == "_other"


@pytest.mark.parametrize("name", ["", "x" * 257, "line\nend", "\x00", "\ud83d", "_other"])
def test_a_listed_name_that_is_no_label_value_is_not_admitted(name: str) -> None:
    tools, overflows = make_tools()
    assert tools.admit([name]) == []
    assert overflows == {"tool": 1}


@given(st.lists(st.text(st.characters()), max_size=30))
def test_every_admitted_name_can_be_written_to_a_scrape(names: list[str]) -> None:
    tools, _ = make_tools(limit=5)
    admitted = tools.admit(names)
    assert len(admitted) <= 5
    for name in admitted:
        name.encode("utf-8")
        assert name.isprintable()
