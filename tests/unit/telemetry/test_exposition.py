"""A scrape as text: whole, in the format that is asked for, in slices with pauses between."""

from __future__ import annotations

from itertools import pairwise

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from exporter.telemetry.exposition import PAUSE, SLICE, Exposition, encoder
from tests.support.fakes import FakeClock, Telemetry

OPEN = "application/openmetrics-text;version=1.0.0"


def filled() -> Telemetry:
    telemetry = Telemetry()
    telemetry.metrics.collect_runtime("1.2.3", "abc")
    telemetry.recorder.listed({f"tool{number}": b"{}" for number in range(50)})
    return telemetry


def text_of(exposition: Exposition, accept: str = "") -> str:
    return b"".join(exposition.render(accept)[0]).decode()


def series_in(text: str) -> list[str]:
    volatile = ("process_", "python_gc_")
    return sorted(line.split(" ")[0] for line in text.splitlines() if not line.startswith(volatile))


def test_it_is_what_the_library_would_write() -> None:
    metrics = filled().metrics
    plain = generate_latest(metrics.registry)
    assert series_in(text_of(metrics.exposition())) == series_in(plain.decode())
    opened: bytes = generate_openmetrics(metrics.registry)  # type: ignore[no-untyped-call]
    assert series_in(text_of(metrics.exposition(), OPEN)) == series_in(opened.decode())


def test_parsers_accept_it() -> None:
    exposition = filled().metrics.exposition()
    found = {family.name for family in parse(text_of(exposition))}
    assert {"mcp_requests", "process_cpu_seconds", "mcp_exporter_build_info"} <= found
    text = text_of(exposition, OPEN)
    again = parse_openmetrics(text)  # type: ignore[no-untyped-call]
    assert found == {family.name for family in again}


def test_the_media_type_is_the_one_that_is_asked_for() -> None:
    exposition = filled().metrics.exposition()
    assert exposition.render("")[1].startswith("text/plain; version=0.0.4")
    assert exposition.render(OPEN)[1].startswith("application/openmetrics-text; version=1.0.0")


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0", "2.0.0", "2.0.0;escaping=allow-utf-8"])
def test_the_version_that_is_announced_is_the_one_that_is_written(version: str) -> None:
    accept = f"application/openmetrics-text;version={version}"
    for names in ((), ["mcp_server_up"]):
        pieces, content_type = filled().metrics.exposition().render(accept, names)
        assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert b"".join(pieces).endswith(b"# EOF\n")


def test_some_names_are_given_alone() -> None:
    exposition = filled().metrics.exposition()
    pieces, _ = exposition.render("", ["mcp_server_up", "mcp_server_health_transitions_total"])
    heads = [line for line in b"".join(pieces).splitlines() if line.startswith(b"# TYPE")]
    assert sorted(heads) == [
        b"# TYPE mcp_server_health_transitions_total counter",
        b"# TYPE mcp_server_up gauge",
    ]


def test_no_slice_is_longer_than_it_may_be_and_a_pause_follows_each() -> None:
    metrics, clock, pauses = filled().metrics, FakeClock(), []
    worked = [0.0]

    def tick() -> float:
        clock.advance(SLICE / 4)
        return clock.now

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        worked.append(clock.now)

    exposition = Exposition(
        metrics.registry, metrics.families, CollectorRegistry(), pause=pause, clock=tick
    )
    pieces, _ = exposition.render("")
    assert len(list(pieces)) == len(pauses) + 2  # the last slice, and the library's own
    assert len(pauses) > 50
    assert set(pauses) == {PAUSE}
    stretches = [after - before for before, after in pairwise(worked[1:])]
    assert max(stretches) <= SLICE * 1.6


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (OPEN, "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text;version=abc", "text/plain; version=0.0.4"),
        ("text/plain;version=abc", "text/plain; version=0.0.4"),
        (";;=,q", "text/plain; version=0.0.4"),
        ("", "text/plain; version=0.0.4"),
    ],
)
def test_a_header_that_makes_no_sense_gets_the_text_format(accept: str, expected: str) -> None:
    assert encoder(accept)[1].startswith(expected)
