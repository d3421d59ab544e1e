"""The bench: right replies pass and wrong ones do not, and figures are what their rows say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httptools
import msgspec
import pytest

from bench import nginx
from bench.load.generator import Measured, last_event, quantile
from bench.load.messages import FIRST_ID, TOKEN, Http, Talk, WrongReplyError
from bench.load.scrapes import samples_of
from bench.load.usage import Cpu, difference
from bench.page import PAGE, RESULTS, parts, traced, written
from bench.page import read as load_run
from bench.peers import LOCKS, RENEWAL, version
from bench.plan import Cell, Row, Traits, plan, takes_part, turns
from bench.report.bars import (
    Bar,
    bars,
    lost_collector_bars,
    tracing_bars,
    tracing_verdicts,
    verdicts,
)
from bench.report.plots import plot
from bench.report.tables import TIMES, Book, cpu, micro, p50, table, tables
from bench.scenarios import joining
from bench.scenarios.figures import Figures
from bench.scenarios.lost_collector import HANGS, REFUSES, LostCollectorCost, middle, more
from bench.scenarios.slopes import Slope
from bench.scenarios.tracing import EVERYTHING, HEADER, NOTHING, OFF, UNSAMPLED, TracingCost
from bench.servers.answers import EVENTS, LARGE, LEGACY, MODERN, answer
from exporter.protocol import trace_context
from exporter.protocol.jsonrpc import read

TALKS = [Talk(), Talk(size=LARGE), Talk(is_streamed=True), Talk(tools=3)]
TALKS += [Talk(trace_flags="01"), Talk(has_trace_header=True)]
TALKS += [msgspec.structs.replace(talk, era=MODERN) for talk in TALKS]


def first_line(talk: Talk) -> tuple[int, bytes]:
    return next(talk.lines())


def measured(spent: float = 0.0, p50: float = 0.001) -> Measured:
    return Measured(
        calls=100,
        seconds=2.0,
        mean=p50,
        p50=p50,
        p90=p50,
        p99=p50,
        longest=p50,
        cpu={"proxy": (spent, 0.0)},
        other=0.0,
    )


def row(contender: str, number: int, spent: float = 0.0, p50: float = 0.001) -> Row:
    return Row(cell(contender), number, measured(spent, p50))


def cell(contender: str, payload: str = "small", sessions: int = 16) -> Cell:
    return Cell(contender, "http", LEGACY, payload, sessions)


@pytest.mark.parametrize("talk", TALKS)
def test_what_the_server_answers_is_what_the_client_accepts(talk: Talk) -> None:
    number, line = first_line(talk)
    talk.check(answer(line)[-1], number)


@pytest.mark.parametrize("talk", TALKS)
def test_calls_are_those_of_the_protocol(talk: Talk) -> None:
    message = read(first_line(talk)[1])
    assert message is not None
    assert message.method == "tools/call"
    assert message.tool in talk.names
    assert message.protocol_version == (MODERN if talk.era == MODERN else None)


def test_a_streamed_reply_has_progress_for_its_caller_and_ends_with_the_result() -> None:
    *progress, result = answer(first_line(Talk(is_streamed=True))[1])
    assert len(progress) == EVENTS - 1
    params = [msgspec.json.decode(message)["params"] for message in progress]
    assert [each["progressToken"] for each in params] == [TOKEN] * 9
    assert [each["progress"] for each in params] == [*range(1, EVENTS)]
    assert msgspec.json.decode(result)["id"] == FIRST_ID


def test_notifications_get_no_answer_and_unknown_methods_an_error() -> None:
    assert answer(b'{"jsonrpc":"2.0","method":"notifications/initialized"}') == []
    assert b'"code": -32601' in answer(b'{"jsonrpc":"2.0","id":4,"method":"x"}')[0]


@pytest.mark.parametrize(
    "reply",
    [
        b"{",
        b'{"id":2,"result":{}}',
        b'{"id":1,"error":{"code":-32603,"message":"no"}}',
        b'{"id":1,"result":{"isError":true}}',
    ],
)
def test_a_wrong_reply_is_none(reply: bytes) -> None:
    with pytest.raises(WrongReplyError):
        Talk().check(reply, 1)


def test_a_result_that_was_cut_is_a_wrong_reply() -> None:
    number, line = first_line(Talk(size=5000))
    with pytest.raises(WrongReplyError, match="instead of at least 5000"):
        Talk(size=5000).check(answer(line.replace(b"5000", b"4000"))[0], number)


def test_a_process_that_came_or_went_is_left_out() -> None:
    before = {1: Cpu(1.0, 2.0), 2: Cpu(5.0, 5.0)}
    after = {1: Cpu(1.5, 2.25), 3: Cpu(9.0, 9.0)}
    assert difference(before, after) == Cpu(0.5, 0.25)


class Requests:
    """What a server reads."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.bodies: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.bodies.append(body)


@pytest.mark.parametrize("talk", TALKS)
def test_requests_are_whole_and_say_what_their_era_asks_for(talk: Talk) -> None:
    seen = Requests()
    calls = Http(talk, "localhost:1", "/mcp").calls(b"abc")
    parser = httptools.HttpRequestParser(seen)
    names = []
    for _ in range(3):
        number, request = next(calls)
        parser.feed_data(request)
        message = read(seen.bodies[-1])
        assert message is not None
        assert message.id == number
        names.append(message.tool)
        modern = (seen.fields.get("mcp-method"), seen.fields.get("mcp-name"))
        assert modern == (("tools/call", message.tool) if talk.era == MODERN else (None, None))
    assert seen.fields["mcp-protocol-version"] == talk.era
    assert seen.fields.get("mcp-session-id") == (None if talk.era == MODERN else "abc")
    assert names == (talk.names * 3)[:3]


def test_the_last_event_is_the_reply() -> None:
    events = b'event: message\r\ndata: {"n":1}\r\n\r\nevent: message\r\ndata: {"n":2}\r\n\r\n'
    assert last_event(events) == b'{"n":2}'
    assert last_event(b'data: {"n":3}\n\n') == b'{"n":3}'


def test_a_quantile_is_the_nearest_rank() -> None:
    ordered = [float(number) for number in range(1, 101)]
    assert [quantile(ordered, share) for share in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]
    assert quantile([7.0], 0.99) == 7.0


def test_cells_of_one_place_stand_together_and_peers_do_less() -> None:
    own = Traits("exporter", "http", (LEGACY, MODERN))
    peer = Traits("peer", "http", (LEGACY,), is_brief=True, payloads=("small", "100 KiB"))
    cells = plan([own, peer])
    places = [each.place for each in cells]
    assert len({*places}) == 18
    assert all(places.index(place) + places.count(place) > at for at, place in enumerate(places))
    theirs = [(each.payload, each.sessions) for each in cells if each.contender == "peer"]
    assert theirs == [("small", 1), ("small", 16), ("small", 64), ("100 KiB", 16)]
    assert not takes_part(peer, MODERN, "small", 16)


def test_each_second_round_goes_backwards() -> None:
    first, last = cell("a"), cell("b")
    order = [(number, each.contender) for number, each in turns([first, last], 3)]
    assert order == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]


def test_ratios_are_those_within_a_round() -> None:
    """A round in which everything was ten times slower changes nothing."""
    spent = [(0, 3.0, 2.0), (1, 30.0, 20.0), (2, 4.0, 2.0)]
    rows = [row("exporter", number, mine) for number, mine, _ in spent]
    book = Book([*rows, *(row("nginx", number, beside) for number, _, beside in spent)])
    assert book.ratio(cell("exporter"), cell("nginx"), cpu) == 1.5
    assert book.middle(cell("exporter"), cpu) == 4.0


def test_a_ratio_needs_a_round_that_both_had() -> None:
    book = Book([row("exporter", 0, 3.0), row("nginx", 1, 2.0), row("nginx", 0, 0.0)])
    assert book.ratio(cell("exporter"), cell("nginx"), cpu) is None
    assert book.difference(cell("exporter"), cell("nginx"), cpu) == 3.0


def test_added_latency_is_against_no_proxy() -> None:
    book = Book([row("exporter", 0, p50=0.005), row("direct", 0, p50=0.002)])
    assert book.added(cell("exporter")) == pytest.approx(0.003)
    assert book.added(cell("direct")) is None
    assert book.middle(cell("direct"), p50) == 0.002


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(1.5, "stretch"), (1.6, "met"), (2.0, "met"), (2.01, "**missed**"), (None, "not measured")],
)
def test_a_bar_is_cleared_from_below(value: float | None, verdict: str) -> None:
    assert Bar("x", value, 2.0, 1.5).verdict == verdict


def test_a_least_figure_is_cleared_from_above() -> None:
    assert Bar("x", 0.96, 0.95, None, is_least=True).verdict == "met"
    assert Bar("x", 0.94, 0.95, None, is_least=True).verdict == "**missed**"


def test_a_share_is_written_as_one() -> None:
    assert Bar("x", 0.02, 1 / 40, 1 / 60, "1/").line()[1:4] == ["1/50", "≤ 1/40", "≤ 1/60"]


def test_every_bar_is_there_though_nothing_was_measured() -> None:
    found = list(bars(Book([]), Figures()))
    assert len(found) == 12
    assert {bar.verdict for bar in found} == {"not measured"}
    assert len(verdicts(Book([]), Figures())) == 2 + 12


def test_bars_look_at_the_right_cells() -> None:
    book = Book([row("exporter", 0, 3.0), row("nginx", 0, 2.0), row("fastmcp", 0, 150.0)])
    values = {bar.name: bar.value for bar in bars(book, Figures(recording=3e-6)) if bar.value}
    assert values == {
        "CPU a small HTTP call, 16 sessions": 1.5,
        "CPU a small HTTP call, 16 sessions, of fastmcp's with one shared client": 0.02,
        "recording one call": pytest.approx(3.0),
    }


def test_the_bars_of_tracing_are_held_against_what_was_measured() -> None:
    found = TracingCost(
        cpu=dict.fromkeys((HEADER, NOTHING, UNSAMPLED, EVERYTHING), 1.2),
        p99={EVERYTHING: 1.25},
        sampled=13e-6,
        of_nginx=1.9,
        memory=7.0,
        relaying={
            "no context": 0.1e-6,
            "unsampled": 0.2e-6,
            "sampled": 9e-6,
            "joined in the message": 9e-6,
        },
        sent=1.0,
        busy=[0.0],
    )
    assert [bar.verdict for bar in tracing_bars(found)] == [
        "met", "stretch", "**missed**", "met", "not measured",
        "met", "stretch", "**missed**", "met", "**missed**", "met", "", "", "",
    ]  # fmt: skip
    assert len(tracing_verdicts(found, None)) == 2 + 14
    assert tracing_verdicts(None, None) == []


def test_the_bars_of_a_lost_collector_are_held_for_each_way_to_lose_it() -> None:
    found = LostCollectorCost(
        p99={HANGS: 1.1, REFUSES: 1.3},
        full_queue={HANGS: 2.1, REFUSES: 1.9},
        growth={HANGS: -0.1, REFUSES: 0.6},
        calls=1234,
        seconds=60.0,
        busy=[0.0],
    )
    assert [bar.verdict for bar in lost_collector_bars(found)] == [
        "met", "**missed**", "met", "**missed**", "met", "**missed**",
    ]  # fmt: skip
    assert sum("1,234 calls" in line for line in tracing_verdicts(None, found)) == 2


def test_what_a_lost_collector_takes_is_beside_what_calls_take_untraced() -> None:
    looks = [{OFF: 41.0, HANGS: mine, REFUSES: 44.0} for mine in (46.0, 90.0, 45.0)]
    before = {OFF: 40.0, HANGS: 43.0, REFUSES: 43.0}
    assert more(before, middle(looks)) == {HANGS: 2.0, REFUSES: 0.0}


def test_samples_are_read_without_what_follows_their_value() -> None:
    text = (
        "# TYPE a histogram\n"
        'a_bucket{server="x y",le="1.0"} 3 # {trace_id="4b"} 0.067 1.5e+09\n'
        "b_total 2.0\n# EOF\n"
    )
    assert samples_of(text) == {'a_bucket{server="x y",le="1.0"}': 3.0, "b_total": 2.0}


@pytest.mark.parametrize("talk", [talk for talk, _ in joining.KINDS.values()])
def test_a_joined_call_has_its_length(talk: Talk) -> None:
    body = joining.call(talk)
    assert len(body) == joining.LENGTH
    message = read(body)
    assert message is not None
    assert message.tool in talk.names


def test_each_request_has_a_trace_header_of_its_own_where_that_is_wanted() -> None:
    calls = Http(Talk(has_trace_header=True), "localhost:1", "/mcp").calls(b"")
    headers = [re.findall(rb"traceparent: (\S+)\r\n", next(calls)[1]) for _ in range(2)]
    assert headers[0] != headers[1]
    for (header,) in headers:
        assert trace_context.valid(header.decode()) == header.decode()


def test_tables_have_a_line_for_each_cell() -> None:
    text = tables(Book([row("exporter", 0, 61e-6), row("nginx", 0, 40e-6)]))
    assert "### small, 2025-11-25, in front of an HTTP server" in text
    line = next(line for line in text.splitlines() if line.startswith("| exporter "))
    assert line.split(" | ")[6:10] == ["61 (61 + 0.0)", f"1.52 {TIMES}", "50", "16,393"]


def test_small_times_keep_a_decimal() -> None:
    assert [micro(value) for value in (None, 1.26e-6, 12.6e-6, 0.0126)] == [
        "", "1.3", "13", "12,600",
    ]  # fmt: skip


def test_a_table_is_markdown() -> None:
    assert table(("a", "b"), [("1", "2")]) == ["| a | b |", "| --- | ---: |", "| 1 | 2 |"]


def test_only_what_is_between_marks_is_written_anew() -> None:
    page = "words\n<!-- measured: x -->\nold\n<!-- end: x -->\nmore words\n"
    once = written(page, {"x": r"a \1 line", "y": "nowhere"})
    assert once == ("words\n<!-- measured: x -->\n\na \\1 line\n\n<!-- end: x -->\nmore words\n")
    assert written(once, {"x": r"a \1 line"}) == once


@pytest.mark.parametrize("name", RENEWAL)
def test_peers_are_locked_at_their_version_with_hashes_and_no_addresses(name: str) -> None:
    text = (LOCKS / f"{name}.lock").read_text()
    assert RENEWAL[name][0] == f"{name}=={version(name)}"
    packages = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in package for package in packages)
    assert "://" not in text


def test_nginx_has_a_certificate_where_it_is_asked_for_one(tmp_path: Path) -> None:
    plain = nginx.configuration(tmp_path, "127.0.0.1:1", "127.0.0.1:2")
    assert "listen 127.0.0.1:1;" in plain
    assert "ssl_certificate" not in plain
    secure = nginx.configuration(
        tmp_path, "127.0.0.1:1", "127.0.0.1:2", tmp_path / "x.crt", tmp_path / "x.key"
    )
    assert "listen 127.0.0.1:1 ssl;" in secure
    assert f"ssl_certificate {tmp_path}/x.crt; ssl_certificate_key {tmp_path}/x.key;" in secure


def test_the_page_and_its_plots_are_what_the_rows_say() -> None:
    """``python -m bench --output bench/results`` writes the rows, ``bench.page`` the page."""
    run = load_run(RESULTS / "rows.json")
    page = PAGE.read_text()
    assert re.findall("<!-- measured: (.*) -->", page) == re.findall("<!-- end: (.*) -->", page)
    found = {**parts(run), **traced(load_run(RESULTS / "tracing" / "rows.json"))}
    assert set(re.findall("<!-- measured: (.*) -->", page)) == set(found)
    assert written(page, found) == page
    assert {f"cost-{name}.svg" for name in run.slopes} <= {
        picture.name for picture in (PAGE.parent / "pictures").iterdir()
    }


def test_a_plot_shows_every_point() -> None:
    figure = plot("tools", Slope([10.0, 100.0], [5e-05, 6e-05], [30.0, 40.0]))
    lines: list[Any] = [axes.lines[0] for axes in figure.axes]
    spent, memory = (line.get_xydata().tolist() for line in lines)
    assert spent == [[10.0, 50.0], [100.0, 60.0]]
    assert memory == [[10.0, 30.0], [100.0, 40.0]]
