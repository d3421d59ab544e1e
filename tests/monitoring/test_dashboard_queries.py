"""Every query of every dashboard against a real Prometheus that scrapes a real exporter.

First all is well: what stays empty then is listed, with the reason. Then everything that can go
wrong does, and nothing stays empty.
"""

from __future__ import annotations

import functools
import math
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import requests
import yaml
from prometheus_client import generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from exporter.cli.discover.metrics import DiscoveryMetrics
from exporter.protocol.label_values import Outcome
from scripts import metric_docs
from tests.support import scripted_server
from tests.support.dashboards import (
    Json,
    Query,
    annotation_queries,
    labels,
    load,
    panel_queries,
    selectors,
    shortest_step,
    variable_query,
    variables,
)
from tests.support.every_outcome import Traffic
from tests.support.fast_rules import speed_up
from tests.support.panel_queries import (
    ALL,
    CHOSEN,
    Prometheus,
    Series,
    Window,
    escaped,
    interpolated,
)
from tests.support.paths import ROOT
from tests.support.running import free_address, running, wait_for
from tests.support.scripted_server import Scripted
from tests.support.tools import tool
from tests.support.trace_receiver import TraceReceiver, receiving

pytestmark = pytest.mark.e2e

BOARDS = load()
QUERIES = [
    q for board in BOARDS.values() for q in (*panel_queries(board), *annotation_queries(board))
]

TABLES = [
    (uid, number)
    for uid, board in BOARDS.items()
    for number, panel in enumerate(board["panels"])
    if panel["type"] == "table"
]

COUNTED = [
    query
    for uid in ("mcp-overview", "mcp-servers", "mcp-tools")
    for query in panel_queries(BOARDS[uid])
    if query.instant
    and not any(":" in s.metric or s.metric.startswith("ALERTS") for s in selectors(query.expr))
    and "topk by (server) (1" not in query.expr
]
"""The numbers of stats, bars and tables; those that are recorded are tested with the rules."""

ADDED_UP = {
    "mcp-overview: Tool calls A",
    "mcp-servers: Clients A",
    *(f"mcp-tools: {title} A" for title in ("Calls", "Failed", "Invented names")),
    *("mcp-tools: Tools A", "mcp-tools: Tools C", "mcp-tools: Most failing A"),
}
"""What each replica counts for itself."""

UNSET = {"revision"}
"""Labels that are empty, and so none, where the exporter runs from a source tree."""

JOB = "mcp-exporter"
"""The job that dashboards open with, which here finds its target twice."""
SINGLE = "single"
PAIR = "pair"
"""The same target, found once, and under two names as two replicas are."""

SCRAPE_SECONDS = 2
SECONDS_SHOWN = 60
TARGETS = 5
SERVERS = 3
SECONDS_TO_LIST = 120
SECONDS_TO_BE_SCRAPED = 120
SECONDS_CALM = 20
TOLERANCE = 0.2
"""Scrapes of different jobs come at different moments, and `increase` is extrapolated."""
SECONDS_TO_SHOW = 150
"""A start under load can take half of it: what went wrong then has to leave the picture first."""

OF_OTHERS = ("ALERTS", "up", "scrape_", "prometheus_", "alertmanager_", "process_")
"""What rules read that is not the exporter's: Prometheus, Alertmanager, the client library."""

ATTAINED = [
    f"{uid}: {name}, 30 days"
    for uid in ("mcp-overview", "mcp-objectives")
    for name in ("Availability", "Latency")
]
TROUBLE = ("Rejected requests", "Label overflow", "Unread messages", "Internal errors")

RIGHTLY_EMPTY = {
    **{f"{uid}: annotation Critical alerts": "no alert fires" for uid in BOARDS},
    **{f"{uid}: annotation Warning alerts": "no alert fires" for uid in BOARDS},
    **{f"{uid}: annotation Tool definition changes": "no tool has changed" for uid in BOARDS},
    "mcp-overview: Alerts A": "no alert fires",
    "mcp-exporter: Discovery failures A": "Services are listed and written",
    **{f"{place} B": "no objective is missed" for place in ATTAINED},
    "mcp-overview: Failed calls a minute A": "no call failed",
    "mcp-servers: Health as each exporter sees it A": "one exporter has each server",
    "mcp-servers: Protocol errors A": "no server replies with an error",
    "mcp-servers: Requests from server to client, a minute A": "no server asks its client",
    "mcp-servers: Changes of the tool list A": "no tool has changed",
    "mcp-servers: Process starts A": "every server runs already",
    "mcp-servers: Process exits A": "no process ends",
    "mcp-tools: Invented names A": "no name was invented",
    "mcp-tools: Most failing A": "no call failed",
    "mcp-objectives: Failed calls by tool A": "no call failed",
    **{f"mcp-exporter: {title} A": "nothing went wrong" for title in (*TROUBLE, "Spans dropped")},
}
"""The queries without an answer while all is well, each with the reason."""

EMPTY_IN_TROUBLE = {f"{place} {'A' if 'Availability' in place else 'B'}" for place in ATTAINED}
"""What was attained where it is missed, and the other way round: the trouble is not a slow one."""

REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
"""What a collector says to spans that it will never take."""

STARTS = "annotation Exporter starts"
ALERTS_STARTED = ("annotation Critical alerts", "annotation Warning alerts")
"""They may be longer ago than what is looked at."""

OF_PROMETHEUS = {
    "ALERTS": {"alertname", "alertstate", "severity", "job", "instance"},
    "ALERTS_FOR_STATE": {"alertname", "severity", "job", "instance"},
}
"""Series that Prometheus makes of rules, with the labels that rules give."""


@dataclass
class Stack:
    """A running exporter, what it relays to, and a Prometheus that scrapes it."""

    scripted: Scripted
    traffic: Traffic
    prometheus: Prometheus
    instance: str
    collector: TraceReceiver
    discovery: DiscoveryMetrics
    looked_at: Window | None = None
    """A time range that is over; without one it is the last minute."""

    def window(self) -> Window:
        """What a person looks at: the last minute."""
        end = time.time()
        return Window(end - SECONDS_SHOWN, end, SCRAPE_SECONDS)

    def answers(
        self, query: Query, chosen: Mapping[str, str], window: Window | None = None
    ) -> list[Series]:
        """The series with at least one number in them."""
        window = window or self.window()
        window = replace(window, least=query.scrapes * window.scrape)
        expr = interpolated(query.expr, {**window.values(), **chosen})
        if query.instant:
            found = self.prometheus.now(expr, window.end)
        else:
            found = self.prometheus.over(expr, window)
        return [s for s in found if not all(math.isnan(value) for _, value in s.points)]

    def everything(self) -> dict[str, str]:
        """All variables as they are when a dashboard is opened."""
        return {**dict.fromkeys(CHOSEN, ALL), "job": JOB}

    def single(self) -> list[dict[str, str]]:
        """Each variable at one value: HTTP and stdio, one that dies, a tool never called."""
        pairs = [("scripted", "act"), ("files", "read_file"), ("scripted", "idle")]
        pairs.append(("flaky", "crash"))
        place = {"job": JOB, "instance": escaped(self.instance)}
        return [{**place, "server": server, "tool": tool} for server, tool in pairs]

    def numbers(self, query: Query, job: str) -> dict[str, float]:
        """What a query answers for a job, by the labels of what it is about."""
        found = self.answers(query, {**self.everything(), "job": job}, self.looked_at)
        return {str(sorted(series.labels.items())): series.last for series in found}

    def scrape(self) -> str:
        """What the exporter says now."""
        return requests.get(f"http://{self.instance}/metrics", timeout=10).text

    def exposed(self) -> dict[str, set[str]]:
        """The labels of every metric in the scrape, those with an empty value too."""
        text = (
            self.scrape().replace("# EOF\n", "") + generate_latest(self.discovery.registry).decode()
        )
        found: dict[str, set[str]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
        return found

    def listed(self) -> list[str]:
        """The servers whose tools are known."""
        return [line for line in self.scrape().splitlines() if line.startswith("mcp_server_tools{")]

    def is_scraped_since(self, moment: float) -> None:
        """Wait until every target is: on a busy machine scrapes are late, or fail."""
        fresh = f"count(timestamp(mcp_exporter_build_info) > {moment:.3f}) == {TARGETS}"
        wait_for(
            lambda: self.prometheus.now(fresh, time.time()),
            SECONDS_TO_BE_SCRAPED,
            "a scrape of each",
        )

    def empty_while_well(self) -> set[str]:
        """The queries that have no answer with the variables at All, after some more calls."""
        self.traffic.well()
        return {str(q) for q in _measured() if not self.answers(q, self.everything())}

    def never_answered(
        self, choices: Sequence[Mapping[str, str]], but: Sequence[str] = ()
    ) -> set[str]:
        """The queries that have no answer for any of the choices, however long one waits."""
        asked = [query for query in _measured() if query.place not in but]
        left = {query for query in asked if str(query) not in EMPTY_IN_TROUBLE}
        deadline = time.monotonic() + SECONDS_TO_SHOW
        while left and time.monotonic() < deadline:
            left = {q for q in left if not any(self.answers(q, chosen) for chosen in choices)}
        return {str(query) for query in left}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    mcp, web, address = free_address(), free_address(), free_address()
    with ExitStack() as rest:
        scripted = rest.enter_context(scripted_server.serving())
        collector = rest.enter_context(receiving())
        discovery = DiscoveryMetrics()
        finding = rest.enter_context(_served(discovery))
        tracing = {"tracing": {"endpoint": collector.url, "propagate": True}}
        config = _written(folder / "exporter.yml", _exporter_config(scripted) | tracing)
        command = [sys.executable, "-m", "tests.support.failing_exporter", "serve"]
        command += [f"--config.file={config}"]
        command += [f"--mcp.listen-address={mcp}", f"--web.listen-address={web}"]
        log = folder / "exporter.log"
        path = {"PYTHONPATH": str(ROOT)}
        rest.enter_context(running(command, f"http://{web}/-/ready", log, **path))
        command = _prometheus(folder, web, finding, address)
        ready = f"http://{address}/-/ready"
        rest.enter_context(running(command, ready, folder / "prometheus.log"))
        traffic, prometheus = Traffic(f"http://{mcp}"), Prometheus(f"http://{address}")
        built = Stack(scripted, traffic, prometheus, web, collector, discovery)
        # A call of a tool that no list has shown yet counts as one of an invented name.
        wait_for(lambda: len(built.listed()) == SERVERS, SECONDS_TO_LIST, "each server's tools")
        yield built


@pytest.fixture(scope="module")
def well(stack: Stack) -> Stack:
    """All is well, and has been for long enough to be seen."""
    _in_time(stack.empty_while_well, set(RIGHTLY_EMPTY))
    return stack


@pytest.fixture(scope="module")
def calm(well: Stack) -> Stack:
    """Some seconds with calls in them are over, and every job of Prometheus has seen their end.

    No counter began in them: what `increase` makes of that depends on the moment of a scrape.
    """
    start = time.time()
    time.sleep(SECONDS_CALM)
    well.is_scraped_since(start)
    well.traffic.well()
    well.is_scraped_since(time.time())
    well.looked_at = Window(start, time.time(), SCRAPE_SECONDS)
    return well


@pytest.fixture(scope="module")
def trouble(well: Stack) -> Iterator[Stack]:
    """From now on every outcome, a server and a collector that come and go, new tools, alerts."""
    ended = threading.Event()

    def cause() -> None:
        while not ended.is_set():
            well.traffic.trouble()
            well.traffic.well()
            well.scripted.description += " Or not."
            well.scripted.is_down = not well.scripted.is_down
            well.discovery.failed("list")
            well.collector.misbehave = None if well.collector.misbehave else _refuse

    thread = threading.Thread(target=cause)
    thread.start()
    yield well
    ended.set()
    thread.join()


def test_while_all_is_well_only_what_tells_of_trouble_is_empty(well: Stack) -> None:
    assert _in_time(well.empty_while_well, set(RIGHTLY_EMPTY)) == set(RIGHTLY_EMPTY)


@pytest.mark.parametrize("query", COUNTED, ids=str)
def test_a_target_that_is_scraped_twice_changes_no_number(calm: Stack, query: Query) -> None:
    assert calm.numbers(query, JOB) == pytest.approx(calm.numbers(query, SINGLE), rel=TOLERANCE)


@pytest.mark.parametrize("query", COUNTED, ids=str)
def test_what_replicas_count_is_added_up_and_what_they_see_alike_is_not(
    calm: Stack, query: Query
) -> None:
    factor = 2 if str(query) in ADDED_UP else 1
    wanted = {place: factor * value for place, value in calm.numbers(query, SINGLE).items()}
    assert calm.numbers(query, PAIR) == pytest.approx(wanted, rel=TOLERANCE)


def test_in_trouble_every_query_has_an_answer(trouble: Stack) -> None:
    replicas = {**trouble.everything(), "job": PAIR}
    assert trouble.never_answered([trouble.everything(), replicas]) == set()


def test_every_query_has_an_answer_for_single_values(trouble: Stack) -> None:
    replicas = {**trouble.single()[0], "job": PAIR, "instance": ALL}
    choices = [*trouble.single(), replicas]
    assert trouble.never_answered(choices, but=ALERTS_STARTED) == set()


def test_every_variable_offers_values(well: Stack) -> None:
    for chosen in (well.everything(), well.single()[0]):
        for variable in (v for board in BOARDS.values() for v in variables(board)):
            selector, label = variable_query(variable)
            found = well.prometheus.values(label, interpolated(selector, chosen))
            assert found, variable["query"]


def test_latency_leads_to_traces(well: Stack) -> None:
    (query,) = {q.expr for q in QUERIES if q.place.startswith("Spread of latency")}
    expr = interpolated(query, {**well.window().values(), **well.everything()})
    found = [e for s in well.prometheus.exemplars(expr, well.window()) for e in s["exemplars"]]
    assert all(len(exemplar["labels"]["trace_id"]) == 32 for exemplar in found)
    assert found


def test_the_start_of_the_exporter_is_marked(well: Stack) -> None:
    end = time.time()
    hour = Window(end - 3600, end, SCRAPE_SECONDS)
    for query in (q for q in QUERIES if q.place == STARTS):
        (start,) = well.answers(query, well.everything(), hour)
        assert hour.start * 1000 < start.last < hour.end * 1000


def test_traffic_has_every_outcome(trouble: Stack) -> None:
    def outcomes() -> set[str]:
        found = trouble.prometheus.now("count by (outcome) (mcp_requests_total)", time.time())
        return {series.labels["outcome"] for series in found}

    wanted = {str(outcome) for outcome in Outcome}
    assert _in_time(outcomes, wanted) == wanted


def test_every_metric_and_label_that_a_query_names_exists(trouble: Stack) -> None:
    exposed = trouble.exposed()
    labels_of = functools.cache(functools.partial(_labels, trouble))
    for query in _measured():
        known: set[str] = set()
        for selector in selectors(query.expr):
            found = OF_PROMETHEUS.get(selector.metric, set()) | labels_of(selector.metric)
            found |= exposed.get(selector.metric, set())
            assert found, f"{query} names {selector.metric}"
            assert found >= set(selector.labels), f"{query} selects {selector.metric} by {found}"
            known |= found
        # What a table is joined on is made of other labels.
        assert labels(query.expr) <= known | {"key", "scope"}, str(query)


@pytest.mark.parametrize(("uid", "number"), TABLES, ids=str)
def test_the_table_has_its_columns(trouble: Stack, uid: str, number: int) -> None:
    panel = BOARDS[uid]["panels"][number]
    wanted: set[str] = set(panel["transformations"][-1]["options"]["renameByName"]) - UNSET
    seen: set[str] = set()

    def missing() -> set[str]:
        seen.update(_fields(trouble, panel))
        return wanted - seen

    assert _in_time(missing, set()) == set()


def test_the_scrape_and_the_documentation_name_the_same(trouble: Stack) -> None:
    documented = {name: set(labels) for name, _, labels, _ in metric_docs.documented()}
    scraped: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(trouble.scrape()):
        name = family.name + ("_total" if family.type == "counter" else "")
        if name.startswith("mcp_"):
            scraped[name] = {label for sample in family.samples for label in sample.labels}
    assert scraped.keys() == documented.keys()
    for name, found in scraped.items():
        assert found - {"le"} in (documented[name], set()), name


def test_every_metric_and_label_that_a_rule_names_exists(trouble: Stack) -> None:
    exposed = trouble.exposed()
    rules = [
        rule
        for path in (ROOT / "prometheus" / "rules").glob("*.yml")
        if not path.name.endswith(".test.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    for rule in rules:
        for selector in selectors(str(rule["expr"])):
            if selector.metric in recorded or selector.metric.startswith(OF_OTHERS):
                continue
            assert selector.metric in exposed, f"{rule} names {selector.metric}"
            known = exposed[selector.metric] | {"job", "instance"}
            assert known >= set(selector.labels), f"{rule} selects {selector.metric} by more"


def _refuse(sender: socket.socket) -> None:
    sender.sendall(REFUSED)


def _measured() -> list[Query]:
    return [query for query in QUERIES if query.place != STARTS]


def _fields(stack: Stack, panel: Json) -> set[str]:
    """The fields of a table before Grafana chooses and names its columns."""
    steps = {step["id"]: step["options"] for step in panel["transformations"]}
    key = steps.get("joinByField", {}).get("byField")
    found: set[str] = set()
    for target in panel["targets"]:
        instant = target.get("instant", False)
        scrapes = shortest_step(panel)
        query = Query("", panel["title"], target["expr"], instant, scrapes)
        for series in stack.answers(query, stack.everything()):
            assert key is None or key in series.labels, f"{query} loses {key}"
            found |= series.labels.keys()
        value = "Value" if key is None else f"Value #{target['refId']}"
        found.add(value if "format" in target else f"Trend #{target['refId']}")
        found.update({"Time"} if "format" in target and not instant else {})
    return found


def _labels(stack: Stack, metric: str) -> set[str]:
    found = stack.prometheus.over(metric, stack.window())
    return {label for series in found for label in series.labels}


@contextmanager
def _served(discovery: DiscoveryMetrics) -> Iterator[str]:
    """The address of a discovery that found a server."""
    discovery.expect("team-a")
    discovery.reached("team-a")
    discovery.show(servers=1, left_out=0, wrong=0)
    server, thread = start_http_server(0, "127.0.0.1", discovery.registry)
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _exporter_config(scripted: Scripted) -> dict[str, object]:
    def process(name: str, *arguments: str) -> dict[str, object]:
        command = ["-m", f"mcp_servers.{name}", *arguments]
        return {"command": sys.executable, "args": command, "cwd": str(ROOT)}

    return {
        "mcpServers": {
            "files": process("files", "--root", str(ROOT / "demo" / "library")),
            "flaky": process("flaky"),
            "scripted": {"url": scripted.url, "timeout": "1s"},
        },
        "probe": {"interval": "10s", "timeout": "9900ms", "list_interval": "1s"},
    }


def _prometheus(folder: Path, web: str, finding: str, address: str) -> list[str]:
    rules = folder / "rules"
    rules.mkdir()
    for path in (ROOT / "prometheus" / "rules").glob("*.yml"):
        if not path.name.endswith(".test.yml"):
            (rules / path.name).write_text(speed_up(path.read_text()))
    # One target, as it is found in other worlds: scraped twice, once, and as if it were two.
    found: dict[str, list[dict[str, str]]] = {
        JOB: [{"endpoint": "a"}, {"endpoint": "b"}],
        SINGLE: [{}],
        PAIR: [{"instance": "first:6280"}, {"instance": "second:6280"}],
    }
    jobs: list[object] = [
        {
            "job_name": name,
            "static_configs": [{"targets": [web], "labels": labels} for labels in targets],
        }
        for name, targets in found.items()
    ]
    jobs.append({"job_name": f"{JOB}-discovery", "static_configs": [{"targets": [finding]}]})
    pace = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"}
    document = {"global": pace, "rule_files": [f"{rules}/*.yml"], "scrape_configs": jobs}
    return [
        tool("prometheus"),
        f"--config.file={_written(folder / 'prometheus.yml', document)}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--enable-feature=exemplar-storage",
    ]


def _written(path: Path, document: object) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


def _in_time(ask: Callable[[], set[str]], wanted: set[str]) -> set[str]:
    """What is wanted, or what is there instead when it should have been there long since."""
    deadline = time.monotonic() + SECONDS_TO_SHOW
    while (found := ask()) != wanted and time.monotonic() < deadline:
        time.sleep(1)
    return found
