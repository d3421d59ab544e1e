"""What all dashboards share: variables, annotations, links, and the row-by-row layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.models import dashboard as model

from grafana.build import queries
from grafana.build.panels import DATASOURCE, Panel

TAG = "mcp-exporter"

# All jobs would be every job of that Prometheus. Where none has this name, Grafana takes the first.
CURRENT = {"job": (queries.JOB_NAME, queries.JOB_NAME)}


def new(uid: str, title: str, description: str, since: str = "now-1h") -> dashboard.Dashboard:
    """An empty dashboard that is linked with the others and marks what happened."""
    board = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time(since, "now")
        .timezone("browser")
        .link(_others())
    )
    for variable in _variables():
        board.with_variable(variable)
    for annotation in _annotations():
        board.annotation(annotation)
    return board


def add(board: dashboard.Dashboard, *panels: Panel) -> None:
    """Lay panels from left to right, and on the next line where a line is full."""
    for panel in panels:
        board.with_panel(panel)


def section(board: dashboard.Dashboard, title: str, *panels: Panel) -> None:
    """A titled row of panels."""
    board.with_row(dashboard.Row(title))
    add(board, *panels)


def folded(board: dashboard.Dashboard, title: str, *panels: Panel) -> None:
    """A titled row that is closed until somebody opens it: most have nothing in it."""
    row = dashboard.Row(title)
    for panel in panels:
        row.with_panel(panel)
    board.with_row(row)


def built(board: dashboard.Dashboard) -> model.Dashboard:
    """The finished dashboard, its panels numbered from 1 so that links to a panel stay."""
    found = board.build()
    for number, panel in enumerate(_with_folded(found), start=1):
        panel.id_val = number
    return found


def _with_folded(board: model.Dashboard) -> Iterator[model.Panel | model.RowPanel]:
    for panel in board.panels or []:
        yield panel
        if isinstance(panel, model.RowPanel):
            yield from panel.panels


def _variables() -> Sequence[dashboard.DatasourceVariable | dashboard.QueryVariable]:
    datasource = (
        dashboard.DatasourceVariable("datasource")
        .label("Data source")
        .type("prometheus")
        .current(model.VariableOption(text="default", value="default"))
    )
    named = {
        "job": ("Job", queries.JOBS),
        "instance": ("Instance", queries.INSTANCES),
        "server": ("Server", queries.SERVERS),
        "tool": ("Tool", queries.TOOLS),
    }
    return [datasource, *(_variable(name, *found) for name, found in named.items())]


def _variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    text, value = CURRENT.get(name, ("All", "$__all"))
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query({"qryType": 1, "query": query, "refId": "Variable"})
        .definition(query)
        .current(model.VariableOption(selected=True, text=[text], value=[value]))
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )


def _annotations() -> list[dashboard.AnnotationQuery]:
    alert = "{{alertname}}"
    place = "{{server}} {{tool}}"
    critical, warning = (queries.firing_starts(each) for each in ("critical", "warning"))
    return [
        _marks("Critical alerts", critical, "red", alert, place).use_value_for_time(True),
        _marks("Warning alerts", warning, "orange", alert, place).use_value_for_time(True),
        _marks(
            "Exporter starts", queries.STARTS, "#8e8e8e", "Exporter started", "{{instance}}"
        ).use_value_for_time(True),
        _marks(
            "Tool definition changes",
            queries.TOOL_CHANGES_BEGAN,
            "purple",
            "Tool definition {{change}}",
            "{{server}}",
        ),
    ]


def _marks(name: str, expr: str, colour: str, title: str, text: str) -> dashboard.AnnotationQuery:
    """Marks on every drawing; the switch stays out of the control bar."""
    query = prometheus.Dataquery().expr(expr).range().ref_id("Anno").datasource(DATASOURCE)
    return (
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(DATASOURCE)
        .enable(True)
        .hide(True)
        .icon_color(colour)
        .expr(expr)
        .target(query)
        .title_format(title)
        .text_format(text)
        .tag_keys("severity")
    )


def _others() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("MCP dashboards")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .icon("external link")
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
        .target_blank(False)
    )
