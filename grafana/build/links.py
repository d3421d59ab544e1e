"""Data links: where a click leads, and which variables it carries along."""

from __future__ import annotations

from grafana.build.queries import SETTINGS

Link = dict[str, object]
"""A data link, as Grafana's JSON has it."""

KEPT = "${__url_time_range}&${datasource:queryparam}&${job:queryparam}&${instance:queryparam}"


def link(title: str, uid: str, *variables: str) -> Link:
    """A link to another dashboard: time, data source, job and instance stay as they are."""
    url = "&".join([KEPT, *variables])
    return {"title": title, "url": f"/d/{uid}?{url}", "targetBlank": False}


def from_column(variable: str, column: str) -> str:
    """Set a dashboard variable from a cell of the row clicked."""
    return f"var-{variable}={cell(column)}"


def from_label(variable: str) -> str:
    """Set a dashboard variable from the label of the same name of the series clicked."""
    return f"var-{variable}=${{__field.labels.{variable}:percentencode}}"


def cell(column: str) -> str:
    """What the row clicked has in a column, fit for an address."""
    return f'${{__data.fields["{column}"]:percentencode}}'


CHOSEN_SERVERS = "${server:queryparam}"
CHOSEN_TOOLS = "${tool:queryparam}"

TO_SERVER = link("Open this server", "mcp-servers", from_label("server"))
TO_SERVERS = link("Open the servers", "mcp-servers", CHOSEN_SERVERS)
TO_ITS_TOOLS = link("Open its tools", "mcp-tools", from_label("server"))
TO_TOOLS = link("Open the tools", "mcp-tools", CHOSEN_SERVERS, CHOSEN_TOOLS)
TO_TOOL = link("Open this tool", "mcp-tools", from_label("server"), from_label("tool"))
TO_OBJECTIVES = link("Open its objectives", "mcp-objectives", from_label("server"))

ROW_SERVER = link("Open this server", "mcp-servers", from_column("server", "Server"))
ROW_TOOLS = link("Open its tools", "mcp-tools", from_column("server", "Server"))
ROW_OBJECTIVES = link("Open its objectives", "mcp-objectives", from_column("server", "Server"))
ROW_TOOL = link(
    "Open this tool", "mcp-tools", from_column("server", "Server"), from_column("tool", "Tool")
)


def explain(exporter: str) -> Link:
    """A link to the exporter's own page: metrics say that a server does not answer, it says why.

    A server can be called anything, an instance is host:port: the address is left as it is.
    """
    address = exporter.replace("{instance}", '${__data.fields["Exporter"]}')
    return {
        "title": "Why? Probe it now, and read what was said",
        "url": f"{address}/probe?target={cell('Server')}&debug=true",
        "targetBlank": True,
    }


ROW_EXPLAIN = explain(SETTINGS.exporter)
