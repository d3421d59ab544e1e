"""The rules of Grafana's dashboard-linter, for every type of panel and without exclusions.

Each takes a dashboard and yields what is wrong with it. Names and meanings are those of
https://github.com/grafana/dashboard-linter/tree/main/docs/rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from grafana_foundation_sdk.models import units

from tests.support.dashboards import (
    RATE_INTERVAL,
    Json,
    Query,
    annotation_queries,
    panel_queries,
    panels,
    parsed,
    selectors,
    variable_query,
    variables,
)
from tests.support.panel_queries import ALL

Rule = Callable[[Json], Iterator[str]]

DATASOURCE = "$datasource"
OF_COUNTERS = {"rate", "irate", "increase"}
ON_TIME_RANGE_CHANGE = 2
UNITS = {value for value in vars(units).values() if isinstance(value, str)}


def template_datasource(board: Json) -> Iterator[str]:
    """One data source variable, with the name and the label that people know."""
    found = [v for v in board["templating"]["list"] if v["type"] == "datasource"]
    named = [(v["name"], v["label"], v["query"]) for v in found]
    if named != [("datasource", "Data source", "prometheus")]:
        yield f"data source variables: {named}"


def template_job(board: Json) -> Iterator[str]:
    """A variable for the job."""
    yield from _template(board, "job", "Job")


def template_instance(board: Json) -> Iterator[str]:
    """A variable for the instance."""
    yield from _template(board, "instance", "Instance")


def template_label_promql(board: Json) -> Iterator[str]:
    """Variables ask valid PromQL."""
    for variable in variables(board):
        selector, label = variable_query(variable)
        if not label or _unreadable(selector):
            yield f"variable {variable['name']}: {variable['query']}"


def template_on_time_change_reload(board: Json) -> Iterator[str]:
    """Variables ask anew when the time range changes."""
    for variable in variables(board):
        if variable["refresh"] != ON_TIME_RANGE_CHANGE:
            yield f"variable {variable['name']} refreshes at {variable['refresh']}"


def panel_datasource(board: Json) -> Iterator[str]:
    """Panels, their queries and the annotations ask the data source chosen."""
    asking = [*panels(board), *(t for p in panels(board) for t in p["targets"])]
    for found in [*asking, *board["annotations"]["list"]]:
        if found.get("datasource") != {"type": "prometheus", "uid": DATASOURCE}:
            yield f"{_name(found)} asks {found.get('datasource')}"


def panel_title_description(board: Json) -> Iterator[str]:
    """Panels say what they are and what they answer."""
    for panel in panels(board):
        if not panel.get("title") or not panel.get("description"):
            yield f"{_name(panel)}: {panel.get('description')!r}"


def panel_units(board: Json) -> Iterator[str]:
    """Numbers have a unit that Grafana knows, or are mapped to words."""
    for panel in panels(board):
        config = panel["fieldConfig"]
        set_by_column = [p for o in config["overrides"] for p in o["properties"]]
        found = [p["value"] for p in set_by_column if p["id"] == "unit"]
        unit = config["defaults"].get("unit")
        if not config["defaults"].get("mappings") and not {unit, *found} <= UNITS:
            yield f"{_name(panel)} has the units {[unit, *found]}"


def panel_no_targets(board: Json) -> Iterator[str]:
    """Panels ask something."""
    for panel in panels(board):
        if not panel.get("targets"):
            yield f"{_name(panel)} has no query"


def target_logql(board: Json) -> Iterator[str]:
    """No query is LogQL, so none can be wrong."""
    for panel in panels(board):
        for target in panel["targets"]:
            if target["datasource"]["type"] == "loki":
                yield f"{_name(panel)} asks Loki"


def target_logql_auto(board: Json) -> Iterator[str]:
    """``$__auto`` is for LogQL, and nothing here is."""
    for query in _queries(board):
        if "$__auto" in query.expr:
            yield f"{query} uses $__auto"


def target_promql(board: Json) -> Iterator[str]:
    """Queries are valid PromQL."""
    for query in _queries(board):
        if reason := _unreadable(query.expr):
            yield f"{query}: {reason}"


def target_rate_interval(board: Json) -> Iterator[str]:
    """Rates are over ``$__rate_interval``; and only what reads a range has one."""
    for query in _readable(board):
        for selector in selectors(query.expr):
            fixed = selector.window != RATE_INTERVAL
            if selector.function in {"rate", "irate"} and fixed:
                yield f"{query}: {selector.metric} over {selector.window}"


def target_job(board: Json) -> Iterator[str]:
    """Every selector keeps to the jobs chosen and to the discovery of each.

    Alerts on notifications are in view as well.
    """
    yield from _without(board, 'job=~"$job"', 'job=~"$job|$job-discovery|alertmanager"')


def target_instance(board: Json) -> Iterator[str]:
    """Every selector of what an exporter says keeps to the instances chosen.

    What is recorded speaks for all replicas and has no instance, nor has an alert on a server; a
    discovery's instance is no exporter's.
    """
    yield from _without(board, 'instance=~"$instance"', 'instance=~"$instance|"', recorded=False)


def target_counter_agg(board: Json) -> Iterator[str]:
    """Counters are only read as rates or increases: they start again at 0."""
    for query in _readable(board):
        for selector in selectors(query.expr):
            counter = selector.metric.endswith(("_total", "_count", "_sum", "_bucket"))
            if counter and selector.function not in OF_COUNTERS:
                yield f"{query}: {selector.metric} is read by {selector.function or 'nothing'}"


def uneditable(board: Json) -> Iterator[str]:
    """What is generated is not edited in the browser."""
    if board.get("editable") is not False:
        yield "editable"


RULES: dict[str, Rule] = {
    "template-datasource-rule": template_datasource,
    "template-job-rule": template_job,
    "template-instance-rule": template_instance,
    "template-label-promql-rule": template_label_promql,
    "template-on-time-change-reload-rule": template_on_time_change_reload,
    "panel-datasource-rule": panel_datasource,
    "panel-title-description-rule": panel_title_description,
    "panel-units-rule": panel_units,
    "panel-no-targets-rule": panel_no_targets,
    "target-logql-rule": target_logql,
    "target-logql-auto-rule": target_logql_auto,
    "target-promql-rule": target_promql,
    "target-rate-interval-rule": target_rate_interval,
    "target-job-rule": target_job,
    "target-instance-rule": target_instance,
    "target-counter-agg-rule": target_counter_agg,
    "uneditable-dashboard": uneditable,
}


def _queries(board: Json) -> list[Query]:
    return [*panel_queries(board), *annotation_queries(board)]


def _readable(board: Json) -> list[Query]:
    """Queries that are PromQL: that the others are not is another rule."""
    return [query for query in _queries(board) if not _unreadable(query.expr)]


def _unreadable(expr: str) -> str:
    try:
        parsed(expr)
    except (ValueError, KeyError) as error:
        return repr(error)
    return ""


def _without(board: Json, matcher: str, of_alerts: str, recorded: bool = True) -> Iterator[str]:
    for query in _readable(board):
        for selector in selectors(query.expr):
            of_discovery = selector.metric.startswith("mcp_exporter_discovery_")
            if (of_discovery or ":" in selector.metric) and not recorded:
                continue
            wanted = of_alerts if selector.metric.startswith("ALERTS") else matcher
            wanted = 'job=~"$job-discovery"' if of_discovery else wanted
            if wanted not in selector.matchers:
                yield f"{query}: {selector.metric} lacks {wanted}"


def _template(board: Json, name: str, label: str) -> Iterator[str]:
    found = [variable for variable in variables(board) if variable["name"] == name]
    if not found:
        yield f"no variable {name}"
    for variable in found:
        wanted = {"label": label, "multi": True, "allValue": ALL}
        if not wanted.items() <= variable.items():
            yield f"variable {name}: {variable}"
        if variable["datasource"]["uid"] != DATASOURCE:
            yield f"variable {name} asks {variable['datasource']}"


def _name(found: Json) -> str:
    return str(found.get("title") or found.get("name") or found.get("refId"))
