"""Every PromQL string of the dashboards.

Each selector names ``$job``, and ``$instance`` where its series have one (rules of Grafana's
dashboard-linter). Replicas are exporters of one job: what each counts for itself is added up before
anything is divided, and what all of them see alike is taken once. What ``prometheus/rules`` records
is read from there, so that 30 days stay fast: rates are averaged and quantiles take their highest
value over each step of the drawing. Everything else is a counter over ``$__rate_interval``, where
it is drawn over time, or over ``$__range``, where one number answers for the whole time range.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from prometheus.build.settings import load
from scripts.metric_docs import documented

SETTINGS = load(Path(__file__).parents[2] / "prometheus" / "objectives.yml")

JOB_NAME = SETTINGS.job
JOB = 'job=~"$job"'
TARGET = f'{JOB},instance=~"$instance"'
SERVER = f'{TARGET},server=~"$server"'
TOOL = f'{SERVER},tool=~"$tool"'
# Recorded series speak for all replicas, and have no instance.
RECORDED_SERVER = f'{JOB},server=~"$server"'
RECORDED_TOOL = f'{RECORDED_SERVER},tool=~"$tool"'
# An alert on the exporter itself carries no server, and one on a server no instance: the empty
# alternatives keep them in view. Those of other teams' rules stay out.
ALERT = (
    'job=~"$job|$job-discovery|alertmanager",instance=~"$instance|",server=~"$server|"'
    ',alertname=~"MCP.+"'
)

# The discovery is a process and a job of its own, whatever exporters are chosen.
DISCOVERY = 'job=~"$job-discovery"'

JOBS = "label_values(mcp_exporter_build_info, job)"
INSTANCES = 'label_values(mcp_exporter_build_info{job=~"$job"}, instance)'
SERVERS = f"label_values(mcp_server_up{{{TARGET}}}, server)"
TOOLS = f"label_values(mcp_tool_calls_total{{{SERVER}}}, tool)"

BYTES_A_TOKEN = 4
"""The rule of thumb for English text and JSON: an estimate, as no tokenizer is asked."""

ERROR_CODES = {
    "-32700": "parse error",
    "-32600": "invalid request",
    "-32601": "method not found",
    "-32602": "invalid params",
    "-32603": "internal error",
    "-32002": "resource not found",
}


# Shapes ------------------------------------------------------------------------------------------


def per_second(metric: str, selector: str, by: str = "") -> str:
    """Rate of a counter over time, added up over what ``by`` does not name."""
    return f"sum{_by(by)} ({_once('rate', metric, selector, '$__rate_interval')})"


def a_minute(rate: str) -> str:
    """A rate for people: MCP traffic is a few calls a minute."""
    return f"{rate} * 60"


def per_step(metric: str, selector: str, by: str, across: str = "sum", offset: str = "") -> str:
    """Whole events within each step of the drawing; absent where there was none.

    ``$__rate_interval`` is a step and the scrape before it, so that each event falls into one step;
    ``across`` is ``max`` for what all replicas see alike.
    """
    rate = _once("rate", metric, selector, "$__rate_interval", offset)
    return f"round({across}{_by(by)} ({rate}) * $__interval_ms / 1000) > 0"


def in_range(metric: str, selector: str, by: str = "") -> str:
    """Increase of a counter over the whole time range chosen."""
    return f"sum{_by(by)} ({_once('increase', metric, selector, '$__range')})"


def quantile(q: float, metric: str, selector: str, by: str = "") -> str:
    """Quantile of a histogram over time; absent where there was nothing to observe.

    The comparison drops what is no number: a drawing of that is not empty, and does not say why.
    """
    return f"histogram_quantile({q:g}, {buckets('rate', metric, selector, by)}) >= 0"


def mean(metric: str, selector: str, by: str = "") -> str:
    """Average of a histogram's observations over time; absent where there was none.

    A scrape can see the sum without the count: without the comparison that would be infinite.
    """
    total = per_second(f"{metric}_sum", selector, by)
    return f"{total} / ({per_second(f'{metric}_count', selector, by)} > 0)"


def mean_in_range(metric: str, selector: str, by: str = "") -> str:
    """Average of a histogram's observations over the whole time range chosen."""
    total = in_range(f"{metric}_sum", selector, by)
    return f"{total} / ({in_range(f'{metric}_count', selector, by)} > 0)"


def buckets(function: str, metric: str, selector: str, by: str = "") -> str:
    """Observations by bucket."""
    labels = f"{by}, le" if by else "le"
    return (
        f"sum by ({labels}) ({_once(function, f'{metric}_bucket', selector, '$__rate_interval')})"
    )


def spread(metric: str, selector: str) -> str:
    """What a heatmap draws; absent where nothing was observed in the whole time range.

    Buckets of zeros would be an axis without cells, and not say why. With gaps in between Grafana
    would take the first of them for the width of every cell.
    """
    observed = _once("increase", f"{metric}_count", selector, "$__range", " @ end()")
    return f"{buckets('increase', metric, selector)} and on () (sum({observed}) > 0)"


def recorded(metric: str, selector: str, by: str = "") -> str:
    """A recorded rate, averaged over each step so that no event between two of them is lost."""
    return f"sum{_by(by)} (avg_over_time({metric}{{{selector}}}[$__rate_interval]))"


def that_happened(metric: str, selector: str, by: str) -> str:
    """A recorded rate a minute of what happened at all in the time range.

    The rest would be red lines at 0; without its zeros a line would go straight from one time that
    something failed to the next.
    """
    at_all = f"sum by ({by}) (max_over_time({metric}{{{selector}}}[$__range] @ end())) > 0"
    return f"{a_minute(recorded(metric, selector, by))} and on ({by}) ({at_all})"


def highest(metric: str, selector: str, by: str = "") -> str:
    """The highest value of a recorded quantile within each step of the drawing."""
    return f"max{_by(by)} (max_over_time({metric}{{{selector}}}[$__rate_interval]))"


def added(metric: str, selector: str, by: str = "server") -> str:
    """A gauge of which every replica has its own part."""
    return f"sum by ({by}) (max by (job, instance, {by}) ({metric}{{{selector}}}))"


def at_most(metric: str, selector: str, by: str = "server") -> str:
    """The same, the highest within each step: what comes and goes at each scrape is a fence."""
    highest_each = f"max_over_time({metric}{{{selector}}}[$__rate_interval])"
    return f"sum by ({by}) (max by (job, instance, {by}) ({highest_each}))"


def seen(metric: str, selector: str, by: str = "server") -> str:
    """A gauge that all replicas see alike."""
    return f"max by ({by}) ({metric}{{{selector}}})"


def latest(metric: str, selector: str, by: str = "") -> str:
    """A timestamp in milliseconds, as Grafana's units want it; a 0 means never."""
    return f"max{_by(by)} ({metric}{{{selector}}}) * 1000 > 0"


def keyed(vector: str, first: str, second: str) -> str:
    """The vector with a label ``key`` of two others: Grafana joins tables on one field."""
    return f'label_join({vector}, "key", " ", "{first}", "{second}")'


def by_key(vector: str, first: str, second: str) -> str:
    """The vector with nothing but that label: the first query of the table has the others."""
    return f"max by (key) ({keyed(vector, first, second)})"


def worded(vector: str, label: str, words: Mapping[str, str]) -> str:
    """The vector with words in the place of a label's values."""
    for value, word in words.items():
        vector = f'label_replace({vector}, "{label}", "{word}", "{label}", "{value}")'
    return vector


def tokens(size: str) -> str:
    """An estimate of what some bytes cost of a model's context."""
    return f"{size} / {BYTES_A_TOKEN}"


def worst(function: str, vector: str) -> str:
    """One number for all servers: the lowest or the highest."""
    return f"{function}({vector})"


_OF_DISCOVERY = {"mcp_exporter_discovery_failures_total": ("step",)}


def began(metric: str, selector: str, by: str, across: str) -> str:
    """The same where the step before had none: Grafana makes one region of marks in a row."""
    before = per_step(metric, selector, by, across, " offset $__interval")
    return f"{per_step(metric, selector, by, across)} unless {before}"


def _once(function: str, metric: str, selector: str, window: str, offset: str = "") -> str:
    """A function over a window, once for each series that an exporter serves.

    An exporter that two Services or scrape jobs lead to has every series twice, told apart by
    labels of the target alone: a sum would count it double.
    """
    labels = ", ".join(["job", "instance", *_labels(metric)])
    return f"max by ({labels}) ({function}({metric}{{{selector}}}[{window}]{offset}))"


@cache
def _labels(metric: str) -> tuple[str, ...]:
    if metric in _OF_DISCOVERY:
        return _OF_DISCOVERY[metric]
    families = {name: labels for name, _, labels, _ in documented()}
    if metric.endswith("_bucket"):
        return (*families[metric.removesuffix("_bucket")], "le")
    return families[metric.removesuffix("_count").removesuffix("_sum")]


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""


# Alerts and events -------------------------------------------------------------------------------

_FIRING = f'ALERTS{{{ALERT},alertstate="firing",severity!="none"}}'
_PLACE = "alertname, severity, server, tool"
# Availability burns over several windows at once: that is one alert, since the first of them.
_FIRING_SINCE = (
    f"min by ({_PLACE}) (ALERTS_FOR_STATE{{{ALERT}}} * 1000 and ignoring (alertstate) {_FIRING})"
)


def firing_count(severity: str) -> str:
    """How many alerts of a severity fire, as the table of alerts counts them."""
    return f"count(max by ({_PLACE}) ({_firing(severity)})) or vector(0)"


def firing_since() -> str:
    """When each firing alert became active, in milliseconds, and where a click on it leads.

    An alert without a server is on the exporter itself, and one with a tool on that tool.
    """
    found = _FIRING_SINCE
    for label, value, source, pattern in (
        ("board", "mcp-exporter", "", ""),
        ("board", "mcp-servers", "server", ".+"),
        ("board", "mcp-tools", "tool", ".+"),
        ("of_server", "All", "", ""),
        ("of_server", "$1", "server", "(.+)"),
        ("of_tool", "All", "", ""),
        ("of_tool", "$1", "tool", "(.+)"),
    ):
        found = f'label_replace({found}, "{label}", "{value}", "{source}", "{pattern}")'
    return found


def firing_starts(severity: str) -> str:
    """When alerts of one severity that fire became active, within the time range: its marks."""
    since = f'ALERTS_FOR_STATE{{{ALERT},severity="{severity}"}} * 1000 > $__from < $__to'
    return f"min by ({_PLACE}) (({since}) and ignoring (alertstate) {_firing(severity)})"


def _firing(severity: str) -> str:
    return f'ALERTS{{{ALERT},alertstate="firing",severity="{severity}"}}'


# Objectives --------------------------------------------------------------------------------------

_OBJECTIVE = "server_objective:mcp_objective"

IDLE = -1
"""What stands for no traffic: of what is no number, Grafana shows nothing."""
UNCHANGED = 0
"""What stands for a state that did not change in the time range."""


def _selected(objective: str) -> str:
    return f'{RECORDED_SERVER},objective="{objective}"' if objective else RECORDED_SERVER


def objective_target(objective: str = "") -> str:
    """The share of good events that is aimed at."""
    return f"max by (server, objective) ({_OBJECTIVE}_target:ratio{{{_selected(objective)}}})"


def objective_attained(objective: str = "", window: str = "30d") -> str:
    """The share of good events; absent where there was none to judge."""
    ratio = f"{_OBJECTIVE}_errors:ratio_rate{window}"
    return f"1 - max by (server, objective) ({ratio}{{{_selected(objective)}}})"


def missed(objective: str) -> str:
    """The share of good events of the worst server that misses its objective."""
    return f"min({_missed(objective)})"


def kept(objective: str) -> str:
    """The share of the worst server where all keep theirs; IDLE where there was no traffic."""
    attained = objective_attained(objective)
    return (
        f"min({attained}) unless count({_missed(objective)})"
        f" or vector({IDLE}) and count({objective_target(objective)}) unless count({attained})"
    )


def _missed(objective: str) -> str:
    return f"({objective_attained(objective)}) < {objective_target(objective)}"


def budget_left(objective: str = "") -> str:
    """The share of the errors allowed in 30 days that is still allowed; below 0 it is missed."""
    left = f"{_OBJECTIVE}_budget_remaining:ratio_rate30d"
    return f"min by (server, objective) ({left}{{{_selected(objective)}}})"


def burn(window: str, objective: str = "") -> str:
    """How many times faster than allowed the budget is spent.

    Rates of two counters are extrapolated apart: their difference can be a little below 0.
    """
    rate = f"{_OBJECTIVE}_burn:rate{window}{{{_selected(objective)}}}"
    return f"clamp_min(max by (server, objective) ({rate}), 0)"


# Servers -----------------------------------------------------------------------------------------


def _says(state: str) -> str:
    """Servers of which some replica says that."""
    return f'max by (server) (mcp_server_health_state{{{SERVER},state=~"{state}"}} == 1)'


# 0 ok, 1 unknown, 2 degraded, 3 reached by some replicas alone, 4 error: nobody reaches it. A
# replica that just began, and knows nothing yet, has no vote.
SERVER_STATE = (
    f"({_says('error')} and {_says('ok|degraded')}) * 3"
    f" or {_says('degraded')} * 2"
    f" or {_says('ok')} * 0"
    f" or {_says('error')} * 4"
    f" or {_says('unknown')} * 1"
)
_REPLICA_STATE = (
    "max by (server, instance) ("
    + " or ".join(
        f'mcp_server_health_state{{{SERVER},state="{state}"}} * {number}'
        for state, number in {"ok": 0, "unknown": 1, "degraded": 2, "error": 4}.items()
    )
    + ")"
)
_SEVERAL = f"count by (server) (max by (server, instance) (mcp_server_up{{{SERVER}}})) > 1"
REPLICA_STATE = f"{_REPLICA_STATE} and on (server) {_SEVERAL}"
# The replica that has most to complain of is the one to ask.
WITNESS = f"topk by (server) (1, {_REPLICA_STATE})"
SERVERS_DOWN = f"sum(({SERVER_STATE}) == bool 4)"
# Of gauges, as Prometheus may not have seen a counter's first change.
SERVER_SINCE = (
    "max by (server) (max_over_time((timestamp(max by (server) (changes("
    f"mcp_server_health_state{{{SERVER}}}[$__rate_interval])) > 0))[$__range:$__interval]))"
    f" * 1000 or {UNCHANGED} * max by (server) (mcp_server_up{{{SERVER}}})"
)
SERVER_INFO = (
    "max by (server, server_name, server_version, transport, protocol_version)"
    f" (mcp_server_info{{{SERVER}}})"
)
SERVER_UP_SHARE = (
    f"avg_over_time((max by (server) (mcp_server_up{{{SERVER}}}))[$__range:$__interval])"
)
SERVER_TOOLS = seen("mcp_server_tools", SERVER)
LAST_SUCCESS = latest("mcp_server_last_success_timestamp_seconds", SERVER, "server")
PROBES = per_step("mcp_probes_total", SERVER, "result")
PROBE_SECONDS = "mcp_probe_duration_seconds"

REQUESTS = a_minute(per_second("mcp_requests_total", SERVER, "method"))
REQUEST_OUTCOMES = that_happened("server_outcome:mcp_requests:rate5m", RECORDED_SERVER, "outcome")
REQUEST_P99 = quantile(0.99, "mcp_request_duration_seconds", SERVER, "method")
PROTOCOL_ERRORS = worded(
    per_step("mcp_protocol_errors_total", SERVER, "method, code"), "code", ERROR_CODES
)
SERVER_REQUESTS = a_minute(per_second("mcp_server_requests_total", SERVER, "method, outcome"))
NOTIFICATIONS = a_minute(per_second("mcp_notifications_total", SERVER, "method, direction"))
MESSAGE_BYTES = per_second("mcp_message_bytes_total", SERVER, "direction")
IN_FLIGHT = at_most("mcp_requests_in_flight", SERVER)

SESSIONS = at_most("mcp_sessions", SERVER)
SESSION_CLIENTS = in_range("mcp_sessions_started_total", SERVER, "client, protocol_version")
SESSIONS_STARTED = per_step("mcp_sessions_started_total", SERVER, "protocol_version")
SESSION_SECONDS = "mcp_session_duration_seconds"

PROCESSES = added("mcp_server_processes", SERVER)
PROCESS_STARTS = per_step("mcp_server_process_starts_total", SERVER, "server")
PROCESS_EXITS = per_step("mcp_server_process_exits_total", SERVER, "reason")
PROCESS_MEMORY = added("mcp_server_process_resident_memory_bytes", SERVER)
PROCESS_CPU = per_second("mcp_server_process_cpu_seconds_total", SERVER, "server")

TOOL_LIST_BYTES = seen("mcp_server_tool_definition_bytes", SERVER)
TOOL_LIST_TOKENS = tokens(TOOL_LIST_BYTES)
_CHANGES = ("mcp_server_tool_changes_total", SERVER, "server, change", "max")
TOOL_CHANGES = per_step(*_CHANGES)
TOOL_CHANGES_BEGAN = began(*_CHANGES)

# Tool calls --------------------------------------------------------------------------------------

_CALLS = "mcp_tool_calls_total"
_CALL_SECONDS = "mcp_tool_call_duration_seconds"
_RECORDED_CALLS = "server_tool_outcome:mcp_tool_calls:rate5m"
_RECORDED_ERRORS = "server_tool:mcp_tool_call_errors:rate5m"
_RECORDED_SECONDS = "server_tool_quantile:mcp_tool_call_duration_seconds:rate5m"
_RESULT_BYTES = "mcp_tool_result_bytes"
FAILED = f'{TOOL},outcome=~"tool_error|protocol_error|timeout|upstream_error"'
COMPLETED = f'{TOOL},outcome=~"ok|tool_error|protocol_error|timeout|upstream_error"'
EACH = "server, tool"
RANKED = 8
"""How many bars a panel has room for."""
# Of nothing at all a histogram knows no quantile; of next to nothing it is the fastest call's.
FASTEST = 1e-9


def calls(by: str = "") -> str:
    """Tool calls a minute."""
    return a_minute(recorded(_RECORDED_CALLS, RECORDED_TOOL, by))


def failed_calls(by: str = "") -> str:
    """Failed tool calls a minute."""
    return a_minute(recorded(_RECORDED_ERRORS, RECORDED_TOOL, by))


CALLS_BY_OUTCOME = that_happened(_RECORDED_CALLS, RECORDED_TOOL, "outcome")
FAILED_BY_SERVER = that_happened(_RECORDED_ERRORS, RECORDED_TOOL, "server")


def calls_in_range(by: str = "") -> str:
    """Tool calls in the time range, from the counter itself."""
    return in_range(_CALLS, TOOL, by)


def failed_in_range(by: str = "") -> str:
    """Failed tool calls in the time range, from the counter itself."""
    return in_range(_CALLS, FAILED, by)


def failed_share(by: str = "") -> str:
    """Share of the completed tool calls in the time range that failed; absent without calls."""
    return f"{failed_in_range(by)} / ({in_range(_CALLS, COMPLETED, by)} > 0)"


def seconds(q: str, by: str = "") -> str:
    """Latency quantile of the slowest of the tools chosen."""
    return highest(_RECORDED_SECONDS, f'{RECORDED_TOOL},quantile="{q}"', by)


def server_seconds(q: str) -> str:
    """Latency quantile of each server."""
    metric = "server_quantile:mcp_tool_call_duration_seconds:rate5m"
    return highest(metric, f'{RECORDED_SERVER},quantile="{q}"', "server")


def seconds_in_range(q: float, by: str = "") -> str:
    """Latency quantile over the whole time range chosen, from the buckets; absent without calls."""
    labels = f"{by}, le" if by else "le"
    found = in_range(f"{_CALL_SECONDS}_bucket", TOOL, labels)
    return f"histogram_quantile({q:g}, {found}) >= 0"


def slowest_over_time(number: int) -> str:
    """The p99 over time of the few tools that were slowest at any time of the range.

    A ``topk`` at each step would let series come and go.
    """
    metric = f'{_RECORDED_SECONDS}{{{RECORDED_TOOL},quantile="0.99"}}'
    chosen = f"topk({number}, max by ({EACH}) (max_over_time({metric}[$__range] @ end())))"
    return f"{seconds('0.99', EACH)} and on ({EACH}) {chosen}"


SECONDS_MEAN_IN_RANGE = mean_in_range(_CALL_SECONDS, TOOL, EACH)
SECONDS_SPREAD = spread(_CALL_SECONDS, TOOL)
RESULT_BYTES_MEAN = mean_in_range(_RESULT_BYTES, TOOL, EACH)
RESULT_TOKENS_MEAN = tokens(RESULT_BYTES_MEAN)
LAST_CALL = latest("mcp_tool_call_last_timestamp_seconds", TOOL, EACH)
SLOWEST = f"topk({RANKED}, {seconds_in_range(0.99, EACH)})"
MOST_FAILING = f"topk({RANKED}, {failed_in_range(EACH)} > 0)"
LARGEST = f"topk({RANKED}, {RESULT_TOKENS_MEAN} > 0)"
NEVER_CALLED = f"{calls_in_range(EACH)} == 0"
SPENT_BY = f"{in_range(_CALLS, FAILED, f'{EACH}, outcome')} > 0"
# Whichever tools are chosen: an invented name is none of them.
INVENTED_NAMES = in_range(_CALLS, f'{SERVER},tool="_other"')


def result_bytes(q: float) -> str:
    """Size of the tools' results over time."""
    return quantile(q, _RESULT_BYTES, TOOL)


RESULT_BYTES_MEAN_OVER_TIME = mean(_RESULT_BYTES, TOOL)

# The exporter ------------------------------------------------------------------------------------


def of_exporter(vector: str, by: str = "instance") -> str:
    """What every target has, of the exporters alone: All jobs is every job of that Prometheus."""
    exporters = f"last_over_time(mcp_exporter_build_info{{{TARGET}}}[1d])"
    return f"max by ({by}) ({vector} and on (job, instance) {exporters})"


UP = of_exporter(f"up{{{TARGET}}}")
BUILD = (
    f"max by (instance, version, revision, python_version) (mcp_exporter_build_info{{{TARGET}}})"
)
STARTED = of_exporter(f"process_start_time_seconds{{{TARGET}}}")
UPTIME = f"time() - {STARTED}"
# Only starts inside the time range: the value is the moment itself, in milliseconds.
STARTS = f"{STARTED} * 1000 > $__from < $__to"
OVERHEAD = "mcp_exporter_relay_overhead_seconds"
LOOP_LAG = "mcp_exporter_event_loop_lag_seconds"
MEMORY = of_exporter(f"process_resident_memory_bytes{{{TARGET}}}")
CPU = of_exporter(f"rate(process_cpu_seconds_total{{{TARGET}}}[$__rate_interval])")
OPEN_FILES = of_exporter(f"process_open_fds{{{TARGET}}} / process_max_fds{{{TARGET}}}")
SCRAPE_SECONDS = of_exporter(f"scrape_duration_seconds{{{TARGET}}}")
SCRAPE_SERIES = of_exporter(f"scrape_samples_scraped{{{TARGET}}}")
SCRAPE_NEW_SERIES = of_exporter(f"scrape_series_added{{{TARGET}}}")
RELOADED = f"min by (instance) (mcp_exporter_config_last_reload_successful{{{TARGET}}})"
FILES_FAILED = f"max by (instance) (mcp_exporter_config_files_failed{{{TARGET}}})"
RELOADED_AT = latest(
    "mcp_exporter_config_last_reload_success_timestamp_seconds", TARGET, "instance"
)
OVERFLOW = per_step("mcp_exporter_label_overflow_total", TARGET, "label")
UNPARSED = per_step("mcp_exporter_unparsed_messages_total", SERVER, "server, reason")
REJECTED = per_step("mcp_exporter_rejected_requests_total", TARGET, "reason")
INTERNAL_ERRORS = per_step("mcp_exporter_internal_errors_total", TARGET, "where")

SPANS_SENT = per_step("mcp_exporter_spans_sent_total", TARGET, "instance")
SPANS_DROPPED = per_step("mcp_exporter_spans_dropped_total", TARGET, "reason")
TRACE_CONTEXTS = per_step("mcp_exporter_trace_contexts_total", TARGET, "source")
TRACE_JOINS = per_step("mcp_exporter_trace_joins_total", TARGET, "result")

# The discovery -----------------------------------------------------------------------------------


def _by_scope(metric: str, aggregation: str) -> str:
    """By the namespace that is listed. Prometheus renames that label where a target has it too."""
    named = f"{metric}{{{DISCOVERY}}}"
    for label in ("namespace", "exported_namespace"):
        named = f'label_replace({named}, "scope", "$1", "{label}", "(.+)")'
    return f"{aggregation} by (scope) ({named})"


DISCOVERY_UP = _by_scope("mcp_exporter_discovery_up", "min")
DISCOVERY_LAST = (
    f"{_by_scope('mcp_exporter_discovery_last_success_timestamp_seconds', 'min')} * 1000 > 0"
)
DISCOVERED = f"max by (result) (mcp_exporter_discovery_services{{{DISCOVERY}}})"
DISCOVERY_FAILURES = per_step("mcp_exporter_discovery_failures_total", DISCOVERY, "step")
