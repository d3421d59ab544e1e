"""Every PromQL string of the dashboards.

Each selector names ``$job`` and ``$instance`` (a rule of Grafana's dashboard-linter), and results
are added up over the instances chosen. What ``prometheus/rules`` records is read from there, so
that 30 days stay fast: rates are averaged and quantiles take their highest value over each step
of the drawing. Everything else is a counter over ``$__rate_interval``, where it is drawn over
time, or over ``$__range``, where one number answers for the whole time range.
"""

from __future__ import annotations

TARGET = 'job=~"$job",instance=~"$instance"'
SERVER = f'{TARGET},server=~"$server"'
TOOL = f'{SERVER},tool=~"$tool"'
# An alert on the exporter itself carries no server: the empty alternative keeps it in view.
ALERT = f'{TARGET},server=~"$server|"'

JOBS = "label_values(mcp_exporter_build_info, job)"
INSTANCES = 'label_values(mcp_exporter_build_info{job=~"$job"}, instance)'
SERVERS = f"label_values(mcp_server_up{{{TARGET}}}, server)"
TOOLS = f"label_values(mcp_tool_calls_total{{{SERVER}}}, tool)"


# Shapes ------------------------------------------------------------------------------------------


def per_second(metric: str, selector: str, by: str = "") -> str:
    """Rate of a counter over time, added up over what ``by`` does not name."""
    return f"sum{_by(by)} (rate({metric}{{{selector}}}[$__rate_interval]))"


def per_step(metric: str, selector: str, by: str = "") -> str:
    """Increase of a counter within each step of the drawing."""
    return f"sum{_by(by)} (increase({metric}{{{selector}}}[$__rate_interval]))"


def in_range(metric: str, selector: str, by: str = "") -> str:
    """Increase of a counter over the whole time range chosen."""
    return f"sum{_by(by)} (increase({metric}{{{selector}}}[$__range]))"


def quantile(q: float, metric: str, selector: str, by: str = "") -> str:
    """Quantile of a histogram over time."""
    return f"histogram_quantile({q:g}, {buckets('rate', metric, selector, by)})"


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
    """Observations by bucket; with ``increase``, what a heatmap draws."""
    labels = f"{by}, le" if by else "le"
    return f"sum by ({labels}) ({function}({metric}_bucket{{{selector}}}[$__rate_interval]))"


def recorded(metric: str, selector: str, by: str = "", window: str = "$__rate_interval") -> str:
    """A recorded rate, averaged over a window so that no event between two steps is lost."""
    return f"sum{_by(by)} (avg_over_time({metric}{{{selector}}}[{window}]))"


def highest(metric: str, selector: str, by: str = "") -> str:
    """The highest value of a gauge or of a recorded quantile within each step of the drawing."""
    return f"max{_by(by)} (max_over_time({metric}{{{selector}}}[$__rate_interval]))"


def latest(metric: str, selector: str, by: str = "") -> str:
    """A timestamp in milliseconds, as Grafana's units want it; a 0 means never."""
    return f"max{_by(by)} ({metric}{{{selector}}}) * 1000 > 0"


def keyed(vector: str, first: str, second: str) -> str:
    """The vector with a label ``key`` of two others: Grafana joins tables on one field."""
    return f'label_join({vector}, "key", " ", "{first}", "{second}")'


def by_key(vector: str, first: str, second: str) -> str:
    """The vector with nothing but that label: the first query of the table has the others."""
    return f"max by (key) ({keyed(vector, first, second)})"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""


# Alerts and events -------------------------------------------------------------------------------

FIRING = f'ALERTS{{{ALERT},alertstate="firing",severity!="none"}}'
FIRING_COUNT = f"count({FIRING}) or vector(0)"
# The value is the moment at which the alert became active, in milliseconds.
FIRING_SINCE = f"ALERTS_FOR_STATE{{{ALERT}}} * 1000 and ignoring (alertstate) {FIRING}"


def firing(severity: str) -> str:
    """Alerts of one severity, for an annotation."""
    return f'ALERTS{{{ALERT},alertstate="firing",severity="{severity}"}}'


# Only starts inside the time range: the value is the moment itself, in milliseconds.
STARTS = f"process_start_time_seconds{{{TARGET}}} * 1000 > $__from < $__to"
TOOL_CHANGES = f"{per_step('mcp_server_tool_changes_total', SERVER, 'server, change')} > 0"

# Objectives --------------------------------------------------------------------------------------

_OBJECTIVE = "instance_server_objective:mcp_objective"


def _selected(objective: str) -> str:
    return f'{SERVER},objective="{objective}"' if objective else SERVER


def objective_target(objective: str = "") -> str:
    """The share of good events that is aimed at."""
    return f"max by (server, objective) ({_OBJECTIVE}_target:ratio{{{_selected(objective)}}})"


def objective_attained(objective: str = "", window: str = "30d") -> str:
    """The share of good events; absent where there was none to judge."""
    ratio = f"{_OBJECTIVE}_errors:ratio_rate{window}"
    return f"1 - max by (server, objective) ({ratio}{{{_selected(objective)}}})"


def budget_left(objective: str = "") -> str:
    """The share of the errors allowed in 30 days that is still allowed; below 0 it is missed."""
    left = f"{_OBJECTIVE}_budget_remaining:ratio_rate30d"
    return f"min by (server, objective) ({left}{{{_selected(objective)}}})"


def burn(window: str, objective: str = "") -> str:
    """How many times faster than allowed the budget is spent."""
    return f"max by (server, objective) ({_OBJECTIVE}_burn:rate{window}{{{_selected(objective)}}})"


def worst(function: str, vector: str) -> str:
    """One number for all servers: the lowest or the highest."""
    return f"{function}({vector})"


# Servers -----------------------------------------------------------------------------------------

# 0 ok, 1 unknown, 2 degraded, 3 error; of several instances the worst one speaks.
SERVER_STATE = (
    "max by (server) ("
    f'mcp_server_health_state{{{SERVER},state="ok"}} * 0'
    f' or mcp_server_health_state{{{SERVER},state="unknown"}} * 1'
    f' or mcp_server_health_state{{{SERVER},state="degraded"}} * 2'
    f' or mcp_server_health_state{{{SERVER},state="error"}} * 3'
    ")"
)
SERVERS_UP = f"sum(mcp_server_up{{{SERVER}}})"
SERVERS_ALL = f"count(mcp_server_up{{{SERVER}}})"
SERVER_INFO = (
    "max by (server, server_name, server_version, transport, protocol_version)"
    f" (mcp_server_info{{{SERVER}}})"
)
SERVER_VERSION = f"max by (server, server_version) (mcp_server_info{{{SERVER}}})"
SERVER_UP_SHARE = f"avg by (server) (avg_over_time(mcp_server_up{{{SERVER}}}[$__range]))"
SERVER_TOOLS = f"max by (server) (mcp_server_tools{{{SERVER}}})"
SERVER_FAILURES = f"max by (server) (mcp_server_consecutive_failures{{{SERVER}}})"
SERVER_TRANSITIONS = per_step("mcp_server_health_transitions_total", SERVER, "server, from, to")
LAST_SUCCESS = latest("mcp_server_last_success_timestamp_seconds", SERVER, "server")
PROBES = per_step("mcp_probes_total", SERVER, "result")
PROBE_SECONDS = "mcp_probe_duration_seconds"

REQUESTS = per_second("mcp_requests_total", SERVER, "method")
REQUEST_OUTCOMES = recorded("instance_server_outcome:mcp_requests:rate5m", SERVER, "outcome")
REQUEST_P99 = quantile(0.99, "mcp_request_duration_seconds", SERVER, "method")
PROTOCOL_ERRORS = per_second("mcp_protocol_errors_total", SERVER, "method, code")
SERVER_REQUESTS = per_second("mcp_server_requests_total", SERVER, "method, outcome")
NOTIFICATIONS = per_second("mcp_notifications_total", SERVER, "method, direction")
MESSAGE_BYTES = per_second("mcp_message_bytes_total", SERVER, "direction")
IN_FLIGHT = highest("mcp_requests_in_flight", SERVER, "server")

SESSIONS = f"sum by (server) (mcp_sessions{{{SERVER}}})"
SESSION_CLIENTS = in_range("mcp_sessions_started_total", SERVER, "client, protocol_version")
SESSIONS_STARTED = per_step("mcp_sessions_started_total", SERVER, "protocol_version")
SESSION_SECONDS = "mcp_session_duration_seconds"

PROCESSES = f"sum by (server) (mcp_server_processes{{{SERVER}}})"
PROCESS_STARTS = per_step("mcp_server_process_starts_total", SERVER, "server")
PROCESS_EXITS = per_step("mcp_server_process_exits_total", SERVER, "reason")
PROCESS_MEMORY = f"sum by (server) (mcp_server_process_resident_memory_bytes{{{SERVER}}})"
PROCESS_CPU = per_second("mcp_server_process_cpu_seconds_total", SERVER, "server")

TOOL_LIST_BYTES = f"max by (server) (mcp_server_tool_definition_bytes{{{SERVER}}})"
TOOL_LIST_CHANGES = per_step("mcp_server_tool_changes_total", SERVER, "change")

# Tool calls --------------------------------------------------------------------------------------

_CALLS = "mcp_tool_calls_total"
_CALL_SECONDS = "mcp_tool_call_duration_seconds"
_RECORDED_CALLS = "instance_server_tool_outcome:mcp_tool_calls:rate5m"
_RECORDED_ERRORS = "instance_server_tool:mcp_tool_call_errors:rate5m"
_RECORDED_COMPLETED = "instance_server_tool:mcp_tool_calls_completed:rate5m"
_RECORDED_SECONDS = "instance_server_tool_quantile:mcp_tool_call_duration_seconds:rate5m"
_RESULT_BYTES = "mcp_tool_result_bytes"
FAILED = f'{TOOL},outcome=~"tool_error|protocol_error|timeout|upstream_error"'
EACH = "server, tool"
# Of nothing at all a histogram knows no quantile; of next to nothing it is the fastest call's.
FASTEST = 1e-9


def calls(by: str = "") -> str:
    """Tool calls a second."""
    return recorded(_RECORDED_CALLS, TOOL, by)


def failed_calls(by: str = "") -> str:
    """Failed tool calls a second."""
    return recorded(_RECORDED_ERRORS, TOOL, by)


def calls_in_range(by: str = "") -> str:
    """Tool calls in the time range, from the counter itself."""
    return in_range(_CALLS, TOOL, by)


def failed_in_range(by: str = "") -> str:
    """Failed tool calls in the time range, from the counter itself."""
    return in_range(_CALLS, FAILED, by)


def failed_share(by: str = "") -> str:
    """Share of the completed tool calls in the time range that failed; absent without calls."""
    errors = recorded(_RECORDED_ERRORS, TOOL, by, "$__range")
    return f"{errors} / ({recorded(_RECORDED_COMPLETED, TOOL, by, '$__range')} > 0)"


def seconds(q: str, by: str = "") -> str:
    """Latency quantile of the slowest of the tools chosen."""
    return highest(_RECORDED_SECONDS, f'{TOOL},quantile="{q}"', by)


def server_seconds(q: str) -> str:
    """Latency quantile of each server."""
    metric = "instance_server_quantile:mcp_tool_call_duration_seconds:rate5m"
    return highest(metric, f'{SERVER},quantile="{q}"', "server")


def seconds_in_range(q: float, by: str = "") -> str:
    """Latency quantile over the whole time range chosen, from the buckets; absent without calls."""
    labels = f"{by}, le" if by else "le"
    found = f"sum by ({labels}) (increase({_CALL_SECONDS}_bucket{{{TOOL}}}[$__range]))"
    return f"histogram_quantile({q:g}, {found}) >= 0"


SECONDS_MEAN = mean(_CALL_SECONDS, TOOL)
SECONDS_MEAN_IN_RANGE = mean_in_range(_CALL_SECONDS, TOOL, EACH)
SECONDS_BUCKETS = buckets("increase", _CALL_SECONDS, TOOL)
RESULT_BYTES_MEAN = mean_in_range(_RESULT_BYTES, TOOL, EACH)
LAST_CALL = latest("mcp_tool_call_last_timestamp_seconds", TOOL, EACH)
SLOWEST = f"topk(10, {seconds_in_range(0.99, EACH)})"
SLOWEST_OVER_TIME = f"topk(5, {seconds('0.99', EACH)})"
MOST_FAILING = f"topk(10, {failed_in_range(EACH)} > 0)"
LARGEST = f"topk(10, {RESULT_BYTES_MEAN} > 0)"
NEVER_CALLED = f"{calls_in_range(EACH)} == 0"
SPENT_BY = f"{in_range(_CALLS, FAILED, f'{EACH}, outcome')} > 0"


def result_bytes(q: float) -> str:
    """Size of the tools' results over time."""
    return quantile(q, _RESULT_BYTES, TOOL)


RESULT_BYTES_MEAN_OVER_TIME = mean(_RESULT_BYTES, TOOL)

# The exporter ------------------------------------------------------------------------------------

UP = f"min by (instance) (up{{{TARGET}}})"
BUILD = (
    f"max by (instance, version, revision, python_version) (mcp_exporter_build_info{{{TARGET}}})"
)
UPTIME = f"time() - min by (instance) (process_start_time_seconds{{{TARGET}}})"
OVERHEAD = "mcp_exporter_relay_overhead_seconds"
LOOP_LAG = "mcp_exporter_event_loop_lag_seconds"
MEMORY = f"max by (instance) (process_resident_memory_bytes{{{TARGET}}})"
CPU = per_second("process_cpu_seconds_total", TARGET, "instance")
OPEN_FILES = f"max by (instance) (process_open_fds{{{TARGET}}})"
MAX_FILES = f"max by (instance) (process_max_fds{{{TARGET}}})"
COLLECTIONS = per_second("python_gc_collections_total", TARGET, "generation")
SCRAPE_SECONDS = f"max by (instance) (scrape_duration_seconds{{{TARGET}}})"
SCRAPE_SERIES = f"max by (instance) (scrape_samples_scraped{{{TARGET}}})"
SCRAPE_NEW_SERIES = f"sum by (instance) (scrape_series_added{{{TARGET}}})"
RELOADED = f"min by (instance) (mcp_exporter_config_last_reload_successful{{{TARGET}}})"
RELOADED_AT = latest(
    "mcp_exporter_config_last_reload_success_timestamp_seconds", TARGET, "instance"
)
OVERFLOW = per_step("mcp_exporter_label_overflow_total", TARGET, "label")
UNPARSED = per_step("mcp_exporter_unparsed_messages_total", SERVER, "server, reason")
REJECTED = per_step("mcp_exporter_rejected_requests_total", TARGET, "reason")
INTERNAL_ERRORS = per_step("mcp_exporter_internal_errors_total", TARGET, "where")
