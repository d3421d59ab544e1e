"""The last probes are kept, and the failed ones longer."""

from __future__ import annotations

import threading

from exporter.probe.history import History, Record
from exporter.probe.target import ProbeResult
from exporter.probe.transcript import Step


def record(name: str, result: str = "success") -> Record:
    return Record(name, 0.0, ProbeResult(result, 0.1), [])


def numbers(history: History) -> list[int]:
    return [record.number for record in history.records()]


def test_the_newest_come_first() -> None:
    history = History(kept=3)
    for name in "abc":
        history.add(record(name))
    assert [record.server for record in history.records()] == ["c", "b", "a"]
    assert numbers(history) == [3, 2, 1]


def test_the_oldest_goes() -> None:
    history = History(kept=3)
    for _ in range(10):
        history.add(record("a"))
    assert numbers(history) == [10, 9, 8]


def test_a_failed_probe_stays_while_others_succeed() -> None:
    history = History(kept=3)
    history.add(record("dead", "timeout"))
    for _ in range(50):
        history.add(record("a"))
    assert numbers(history) == [51, 50, 49, 1]
    found = history.find(1)
    assert found is not None
    assert found.server == "dead"


def test_failed_probes_are_bounded_too() -> None:
    history = History(kept=3)
    for _ in range(50):
        history.add(record("dead", "timeout"))
    assert numbers(history) == [50, 49, 48, 47, 46, 45]


def test_long_transcripts_are_kept_within_a_budget() -> None:
    history = History(kept=10, max_size=1000)
    for result in ("timeout", "success") * 10:
        steps = [Step(0.0, "received", "x" * 100)]
        history.add(Record("a", 0.0, ProbeResult(result, 0.1), steps))
    assert numbers(history) == [20, 19, 18, 17, 16, 15, 14, 13, 12, 11]
    history.add(Record("a", 0.0, ProbeResult("success", 0.1), [Step(0.0, "sent", "x" * 2000)]))
    assert numbers(history) == [21]
    history.add(record("b"))
    assert numbers(history) == [22]


def test_what_is_not_kept_is_not_found() -> None:
    history = History(kept=1)
    history.add(record("a"))
    history.add(record("a"))
    assert history.find(1) is None
    assert history.find(3) is None


def test_reading_while_probes_end_never_fails() -> None:
    history = History(kept=50)
    threads = [
        threading.Thread(target=lambda: [history.add(record("a", "timeout")) for _ in range(2000)])
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found = numbers(history)
        assert len(set(found)) == len(found)
    for thread in threads:
        thread.join()
    assert numbers(history)[0] == 6000
