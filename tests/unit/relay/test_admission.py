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
    gate = Admission(SMALL).of("files").requests
    assert [setting(gate.enter()) for _ in range(3)] == [None, None, "requests_per_server"]
    gate.leave()
    assert gate.enter() is None


def test_all_servers_together_have_so_many_too() -> None:
    admission = Admission(SMALL)
    files, notes = admission.of("files").requests, admission.of("notes").requests
    assert [setting(gate.enter()) for gate in (files, files, notes)] == [None] * 3
    assert setting(notes.enter()) == "requests_total"
    files.leave()
    assert notes.enter() is None


def test_streams_and_requests_do_not_crowd_each_other_out() -> None:
    gates = Admission(SMALL).of("files")
    assert gates.streams.enter() is None
    assert setting(gates.streams.enter()) == "streams_per_server"
    assert gates.requests.enter() is None
    assert setting(Admission(SMALL).of("x").streams.enter()) is None


def test_other_limits_hold_from_then_on_and_nobody_has_to_leave() -> None:
    admission = Admission(SMALL)
    gate = admission.of("files").requests
    gate.enter()
    gate.enter()
    admission.apply(Bounds(requests_per_server=1))
    assert setting(gate.enter()) == "requests_per_server"
    gate.leave()
    assert setting(gate.enter()) == "requests_per_server"
    gate.leave()
    assert gate.enter() is None
    assert admission.of("later").requests.own.limit == 1
    admission.apply(Bounds(requests_total=1))
    assert setting(admission.of("later").requests.enter()) == "requests_total"


def test_a_server_that_is_gone_gives_its_places_back() -> None:
    admission = Admission(SMALL)
    leaving = admission.of("files").requests
    for _ in range(2):
        leaving.enter()
    admission.forget("files")
    again = admission.of("files").requests
    assert again.enter() is None
    assert setting(again.enter()) == "requests_total"
    leaving.leave()
    assert again.enter() is None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=200))
def test_places_add_up_whatever_happens(steps: list[tuple[str, bool]]) -> None:
    admission = Admission(SMALL)
    held: list[str] = []
    for server, enters in steps:
        if enters:
            full = admission.of(server).requests.enter()
            expected = held.count(server) >= 2 or len(held) >= 3
            assert (full is not None) is expected
            if full is None:
                held.append(server)
        elif server in held:
            admission.of(server).requests.leave()
            held.remove(server)
        assert admission.of("a").requests.total.taken == len(held)
        for name in "ab":
            assert admission.of(name).requests.own.taken == held.count(name)
