"""Every PromQL string of the dashboards.

Each selector names ``$job`` and ``$instance`` (a rule of Grafana's dashboard-linter), and results
are added up over the instances chosen. A counter is read over ``$__rate_interval`` where it is
drawn over time and over ``$__range`` where one number answers for the whole time range.
"""

TARGET = 'job=~"$job",instance=~"$instance"'
SERVER = f'{TARGET},server=~"$server"'
TOOL = f'{SERVER},tool=~"$tool"'
# An alert on the exporter itself carries no server: the empty alternative keeps it in view.
ALERT = f'{TARGET},server=~"$server|"'

FAILED = 'outcome=~"tool_error|protocol_error|timeout|upstream_error"'

JOBS = "label_values(mcp_exporter_build_info, job)"
INSTANCES = 'label_values(mcp_exporter_build_info{job=~"$job"}, instance)'
SERVERS = f"label_values(mcp_server_up{{{TARGET}}}, server)"
TOOLS = f"label_values(mcp_tool_calls_total{{{SERVER}}}, tool)"


def per_second(metric: str, selector: str, by: str = "") -> str:
    """Rate of a counter over time, added up over what ``by`` does not name."""
    return f"sum{_by(by)} (rate({metric}{{{selector}}}[$__rate_interval]))"


def per_interval(metric: str, selector: str, by: str = "") -> str:
    """Increase of a counter within each step of the drawing."""
    return f"sum{_by(by)} (increase({metric}{{{selector}}}[$__rate_interval]))"


def in_range(metric: str, selector: str, by: str = "") -> str:
    """Increase of a counter over the whole time range chosen."""
    return f"sum{_by(by)} (increase({metric}{{{selector}}}[$__range]))"


def quantile(q: float, metric: str, selector: str, by: str = "") -> str:
    """Quantile of a histogram over time."""
    found = _buckets("rate", metric, selector, by, "$__rate_interval")
    return f"histogram_quantile({q:g}, {found})"


def quantile_in_range(q: float, metric: str, selector: str, by: str = "") -> str:
    """Quantile of a histogram over the whole time range chosen."""
    found = _buckets("increase", metric, selector, by, "$__range")
    return f"histogram_quantile({q:g}, {found})"


def mean(metric: str, selector: str, by: str = "") -> str:
    """Average of a histogram's observations over time."""
    total = per_second(f"{metric}_sum", selector, by)
    return f"{total} / {per_second(f'{metric}_count', selector, by)}"


def mean_in_range(metric: str, selector: str, by: str = "") -> str:
    """Average of a histogram's observations over the whole time range chosen."""
    total = in_range(f"{metric}_sum", selector, by)
    return f"{total} / {in_range(f'{metric}_count', selector, by)}"


def buckets(metric: str, selector: str) -> str:
    """Observations per bucket and step, for a heatmap."""
    return _buckets("increase", metric, selector, "", "$__rate_interval")


def _buckets(function: str, metric: str, selector: str, by: str, window: str) -> str:
    labels = f"{by}, le" if by else "le"
    return f"sum by ({labels}) ({function}({metric}_bucket{{{selector}}}[{window}]))"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""


# Alerts ------------------------------------------------------------------------------------------

FIRING = f'ALERTS{{{ALERT},alertstate="firing",severity=~"critical|warning|info"}}'
FIRING_COUNT = f"count({FIRING})"
# The value is the moment at which the alert became active, in milliseconds.
FIRING_SINCE = f"ALERTS_FOR_STATE{{{ALERT}}} * 1000 and ignoring (alertstate) {FIRING}"


def firing(severity: str) -> str:
    """Alerts of one severity, for an annotation."""
    return f'ALERTS{{{ALERT},alertstate="firing",severity="{severity}"}}'


# Only starts inside the time range: the value is the moment itself, in milliseconds.
RESTARTS = f"process_start_time_seconds{{{TARGET}}} * 1000 > $__from < $__to"
TOOL_CHANGES = f"{per_interval('mcp_server_tool_changes_total', SERVER, 'server, change')} > 0"

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
SERVER_UPTIME = f"avg by (server) (avg_over_time(mcp_server_up{{{SERVER}}}[$__range]))"
SERVER_TOOLS = f"max by (server) (mcp_server_tools{{{SERVER}}})"
LAST_SUCCESS = f"max by (server) (mcp_server_last_success_timestamp_seconds{{{SERVER}}}) * 1000"
IN_FLIGHT = f"sum by (server) (mcp_requests_in_flight{{{SERVER}}})"
SESSIONS = f"sum by (server) (mcp_sessions{{{SERVER}}})"

# Tool calls --------------------------------------------------------------------------------------

CALLS = "mcp_tool_calls_total"
CALL_SECONDS = "mcp_tool_call_duration_seconds"
REQUESTS = "mcp_requests_total"


def failed_per_second(by: str) -> str:
    """Failed tool calls over time."""
    return per_second(CALLS, f"{TOOL},{FAILED}", by)


def failed_share(by: str, window: str = "$__range") -> str:
    """Share of the tool calls that failed; absent where there was no call."""
    function = "increase" if window == "$__range" else "rate"
    failed = f"sum by ({by}) ({function}({CALLS}{{{TOOL},{FAILED}}}[{window}]))"
    calls = f"sum by ({by}) ({function}({CALLS}{{{TOOL}}}[{window}]))"
    return f"{failed} / ({calls} > 0)"


# Objectives, recorded by prometheus/rules --------------------------------------------------------


def attained(slo: str) -> str:
    """Share of good events over the objective's period, of the worst server."""
    return f'1 - max(slo:sli_error:ratio_rate30d{{{SERVER},slo="{slo}"}})'


def objective(slo: str) -> str:
    """The share of good events that is aimed at."""
    return f'max(slo:objective:ratio{{{SERVER},slo="{slo}"}})'


def budget_left(slo: str) -> str:
    """Share of the error budget left, of the worst server."""
    return f'min(slo:period_error_budget_remaining:ratio{{{SERVER},slo="{slo}"}})'
