"""The tools that a server lists, and what counts as a change."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.probe.tool_diff import KEPT
from exporter.probe.tool_inventory import (
    MAX_KEPT,
    Definition,
    Inventory,
    Pages,
    definitions,
)
from exporter.protocol.tool_page import MAX_TOOLS

GRACE = 300.0


def tools(**descriptions: str) -> dict[str, Definition]:
    return definitions(
        {
            name: json.dumps({"name": name, "description": text}).encode()
            for name, text in descriptions.items()
        }
    )


class Tracked:
    """An inventory on a clock, and what it counted."""

    def __init__(self) -> None:
        self.inventory = Inventory(GRACE)
        self.now = 0.0

    def own(self, **descriptions: str) -> list[str]:
        changes = self.inventory.list_own(tools(**descriptions), self.now)
        return [f"{change.kind} {change.tool}" for change in changes]

    def show(self, **descriptions: str) -> list[str]:
        changes = self.inventory.list_shown(tools(**descriptions), self.now)
        return [f"{change.kind} {change.tool}" for change in changes]

    @property
    def names(self) -> set[str]:
        return set(self.inventory._tools)


# What the prober lists


def test_the_first_listing_is_no_change() -> None:
    tracked = Tracked()
    assert tracked.own(a="1", b="1") == []
    assert tracked.names == {"a", "b"}


def test_what_comes_goes_and_changes_is_counted() -> None:
    tracked = Tracked()
    tracked.own(a="1", b="1")
    assert tracked.own(b="2", c="1") == ["modified b", "added c", "removed a"]
    assert tracked.own(b="2", c="1") == []
    assert tracked.own(a="1", b="1", c="1") == ["added a", "modified b"]


def test_an_empty_list_takes_every_tool_away() -> None:
    tracked = Tracked()
    tracked.own(a="1")
    assert tracked.own() == ["removed a"]
    assert tracked.names == set()


def test_a_change_comes_with_what_was_before() -> None:
    inventory = Inventory(GRACE)
    inventory.list_own(tools(a="Reads a file."), 0.0)
    (change,) = inventory.list_own(tools(a="Reads a file. Send it along."), 1.0)
    assert b"Reads a file." in change.before
    assert b"Send it along." in change.after


def test_the_same_members_in_another_order_are_no_change() -> None:
    inventory = Inventory(GRACE)
    inventory.list_own(definitions({"a": b'{"name":"a","x":1}'}), 0.0)
    assert inventory.list_own(definitions({"a": b'{"x": 1, "name": "a"}'}), 1.0) == []


def test_of_a_listing_that_is_cut_nothing_is_missing() -> None:
    inventory = Inventory(GRACE)
    inventory.list_own(tools(a="1", b="1"), 0.0)
    assert inventory.list_own(tools(a="1"), 1.0, is_whole=False) == []
    assert "b" in inventory
    (removed,) = inventory.list_own(tools(a="1"), 2.0)
    assert (removed.kind, removed.tool) == ("removed", "b")


# What is kept is bounded


def test_a_server_that_lists_another_large_tool_each_time_costs_no_more_for_it() -> None:
    inventory = Inventory(GRACE)
    for number in range(20):
        data = b'{"name":"t%d","description":"%b"}' % (number, b"x" * 1_000_000)
        inventory.list_shown(definitions({f"t{number}": data}), 0.0)
    assert len(inventory) == 20
    assert inventory.size > 20_000_000
    kept = sum(len(tool.definition.text) for tool in inventory._tools.values())
    assert kept == 20 * KEPT


def test_texts_are_kept_within_a_budget_and_changes_seen_beyond_it() -> None:
    inventory = Inventory(GRACE)
    listing = {f"t{n}": b'{"name":"t%d","d":"%b"}' % (n, b"x" * KEPT) for n in range(1000)}
    inventory.list_own(definitions(listing), 0.0)
    assert inventory._kept <= MAX_KEPT
    listing["t999"] = b'{"name":"t999","d":"y"}'
    (change,) = inventory.list_own(definitions(listing), 1.0)
    assert (change.tool, change.before) == ("t999", b"")
    inventory.list_own({}, 2.0)
    assert inventory._kept == 0


@pytest.mark.parametrize("is_own", [True, False])
def test_the_tools_of_one_server_are_bounded_in_number(is_own: bool) -> None:
    inventory = Inventory(GRACE)
    for part in range(3):
        listing = definitions({f"{part}-{n}": b"{}" for n in range(MAX_TOOLS // 2)})
        if is_own:
            inventory.list_own(listing, 0.0, is_whole=False)
        else:
            inventory.list_shown(listing, 0.0)
    assert len(inventory) == MAX_TOOLS


# What clients are shown


def test_what_clients_list_is_known_where_the_prober_may_not_list() -> None:
    tracked = Tracked()
    assert tracked.show(a="1") == []
    assert tracked.names == {"a"}
    assert tracked.show(a="2", b="1") == ["modified a", "added b"]


def test_a_change_counts_once_whoever_sees_it_first() -> None:
    tracked = Tracked()
    tracked.own(a="1")
    tracked.show(a="1")
    assert tracked.show(a="2", b="1") == ["modified a", "added b"]
    assert tracked.own(a="2", b="1") == []
    assert tracked.own(a="3", b="1") == ["modified a"]
    assert tracked.show(a="3", b="1") == []


def test_a_change_back_counts_once_it_was_seen_to_be_real() -> None:
    tracked = Tracked()
    tracked.own(a="1")
    tracked.show(a="2")
    tracked.own(a="2")
    assert tracked.own(a="1") == ["modified a"]


def test_users_who_are_shown_different_tools_do_not_count_again_and_again() -> None:
    tracked = Tracked()
    counted = []
    for _ in range(20):
        tracked.now += GRACE
        counted += tracked.show(a="1", b="for me")
        counted += tracked.show(a="1", b="for you", c="1")
        counted += tracked.own(a="1")
    assert counted == ["modified b", "added c"]


def test_a_tool_that_clients_see_no_more_is_removed_after_a_while() -> None:
    tracked = Tracked()
    tracked.show(a="1", b="1")
    tracked.now = GRACE
    assert tracked.show(a="1") == []
    tracked.now = GRACE + 1
    assert tracked.show(a="1") == ["removed b"]
    assert tracked.names == {"a"}


def test_a_tool_that_came_back_is_some_users_own_and_no_longer_news() -> None:
    tracked = Tracked()
    counted = []
    for _ in range(5):
        tracked.now += GRACE + 1
        counted += tracked.show(a="1", b="1")
        tracked.now += GRACE + 1
        counted += tracked.show(a="1")
    assert counted == ["removed b"]


def test_only_the_prober_takes_away_what_it_listed_itself() -> None:
    tracked = Tracked()
    tracked.own(a="1", b="1")
    tracked.show(a="1", b="1")
    tracked.now = 10 * GRACE
    assert tracked.show(a="1") == []
    assert tracked.inventory.differs(tools(a="1"))
    assert tracked.own(a="1") == ["removed b"]


def test_the_prober_finds_no_news_in_what_users_were_shown_before_it_listed() -> None:
    tracked = Tracked()
    tracked.show(a="1", b="1")
    assert tracked.own(a="1") == []
    assert tracked.names == {"a", "b"}


def test_a_tool_that_becomes_public_is_added() -> None:
    tracked = Tracked()
    tracked.own(a="1")
    tracked.show(a="1", b="1")
    assert tracked.own(a="1", b="1") == ["added b"]
    assert tracked.own(a="1", b="1") == []


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ({"a": "1", "b": "1"}, False),
        ({"a": "1", "b": "1", "mine": "1"}, True),
        ({"a": "2", "b": "1"}, True),
        ({"a": "1"}, True),
    ],
)
def test_the_prober_looks_itself_where_clients_are_shown_something_else(
    shown: dict[str, str], expected: bool
) -> None:
    tracked = Tracked()
    tracked.own(a="1", b="1")
    assert tracked.inventory.differs(tools(**shown)) is expected


# Page by page


def test_pages_make_a_listing() -> None:
    pages = Pages()
    assert pages.take(tools(a="1"), None, "2") is None
    assert pages.take(tools(b="1"), "2", "3") is None
    assert pages.take(tools(c="1"), "3", None) == tools(a="1", b="1", c="1")


def test_a_single_page_is_a_listing() -> None:
    assert Pages().take(tools(a="1"), None, None) == tools(a="1")
    assert Pages().take({}, None, "") == {}


def test_a_listing_whose_beginning_was_not_seen_is_none() -> None:
    pages = Pages()
    assert pages.take(tools(b="1"), "2", None) is None
    assert pages.take(tools(b="1"), "2", "3") is None
    assert pages.take(tools(c="1"), "3", None) is None


def test_listings_that_are_never_ended_are_given_up() -> None:
    pages = Pages()
    for number in range(20):
        pages.take(tools(a="1"), None, f"cursor-{number}")
    assert pages.take(tools(b="1"), "cursor-0", None) is None
    assert pages.take(tools(b="1"), "cursor-19", None) == tools(a="1", b="1")


def test_listings_that_are_begun_are_kept_within_a_budget() -> None:
    pages = Pages(max_bytes=3 * KEPT)
    for number in range(4):
        pages.take(definitions({"a": b"x" * KEPT}), None, f"cursor-{number}")
    assert pages.take({}, "cursor-0", None) is None
    assert pages.take({}, "cursor-3", None) == definitions({"a": b"x" * KEPT})


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12")), max_size=12))
def test_the_counts_always_lead_from_the_first_listing_to_the_last(
    listings: list[dict[str, str]],
) -> None:
    tracked = Tracked()
    present: set[str] = set()
    for number, listing in enumerate(listings):
        for change in tracked.own(**listing):
            kind, _, name = change.partition(" ")
            if kind != "modified":
                (present.add if kind == "added" else present.remove)(name)
        present = set(listing) if number == 0 else present
        assert present == tracked.names == set(listing)
