"""Places: taken, given back, and never more than there are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.config.limits import Bounds
from exporter.relay.admission import Admission, Slots

SMALL = Bounds(requests_per_server=2, requests_total=3, streams_per_server=1, streams_total=1)


def setting(full: Slots | None) -> str | None:
    return None if full is None else full.setting


def test_a_server_has_so_many_places() -> None:
    slot = Admission(SMALL).of("files").requests
    assert [setting(slot.acquire()) for _ in range(3)] == [None, None, "requests_per_server"]
    slot.release()
    assert slot.acquire() is None


def test_all_servers_together_have_so_many_too() -> None:
    admission = Admission(SMALL)
    files, notes = admission.of("files").requests, admission.of("notes").requests
    assert [setting(slot.acquire()) for slot in (files, files, notes)] == [None] * 3
    assert setting(notes.acquire()) == "requests_total"
    files.release()
    assert notes.acquire() is None


def test_streams_and_requests_do_not_crowd_each_other_out() -> None:
    slots = Admission(SMALL).of("files")
    assert slots.streams.acquire() is None
    assert setting(slots.streams.acquire()) == "streams_per_server"
    assert slots.requests.acquire() is None
    assert setting(Admission(SMALL).of("x").streams.acquire()) is None


def test_other_limits_hold_from_then_on_and_nobody_has_to_leave() -> None:
    admission = Admission(SMALL)
    slot = admission.of("files").requests
    slot.acquire()
    slot.acquire()
    admission.apply(Bounds(requests_per_server=1))
    assert setting(slot.acquire()) == "requests_per_server"
    slot.release()
    assert setting(slot.acquire()) == "requests_per_server"
    slot.release()
    assert slot.acquire() is None
    assert admission.of("later").requests.own.limit == 1
    admission.apply(Bounds(requests_total=1))
    assert setting(admission.of("later").requests.acquire()) == "requests_total"


def test_a_server_that_is_gone_gives_its_places_back() -> None:
    admission = Admission(SMALL)
    removed = admission.of("files").requests
    for _ in range(2):
        removed.acquire()
    admission.forget("files")
    again = admission.of("files").requests
    assert again.acquire() is None
    assert setting(again.acquire()) == "requests_total"
    removed.release()
    assert again.acquire() is None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=200))
def test_places_add_up_whatever_happens(steps: list[tuple[str, bool]]) -> None:
    admission = Admission(SMALL)
    held: list[str] = []
    for server, enters in steps:
        if enters:
            full = admission.of(server).requests.acquire()
            expected = held.count(server) >= 2 or len(held) >= 3
            assert (full is not None) is expected
            if full is None:
                held.append(server)
        elif server in held:
            admission.of(server).requests.release()
            held.remove(server)
        assert admission.of("a").requests.total.taken == len(held)
        for name in "ab":
            assert admission.of(name).requests.own.taken == held.count(name)
