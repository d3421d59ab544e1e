"""The pages that people read: servers with their states, the last probes, and one probe."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from exporter import __version__
from exporter.probe.explain import render
from exporter.probe.history import Record

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .8rem;"
    "border-bottom:1px solid #ccc}pre{overflow:auto;background:#f6f8fa;padding:1rem}"
    ".ok,.success,.unauthorized{color:#1a7f37}.degraded{color:#9a6700}"
    ".error,.timeout,.connect_error,.protocol_error,.process_exit{color:#cf222e}"
)
_LINKS = (
    ("metrics", "Metrics"),
    ("-/healthy", "Health"),
    ("-/ready", "Readiness"),
)


@dataclass(frozen=True, slots=True)
class ServerSummary:
    """One server on the landing page."""

    name: str
    transport: str
    state: str
    detail: str
    endpoint: str


def landing(rows: Iterable[ServerSummary], records: Iterable[Record]) -> str:
    """What the exporter is, its servers, and the last probes."""
    links = "".join(f'<li><a href="{path}">{text}</a></li>' for path, text in _LINKS)
    return _page(
        "mcp-exporter",
        f"<p>Relays Model Context Protocol traffic and measures it. Version {__version__}.</p>"
        f"<ul>{links}</ul>"
        "<h2>Servers</h2>"
        + _table(
            ("Server", "State", "Transport", "Endpoint", "Explain"),
            (_server_row(row) for row in rows),
        )
        + "<h2>Last probes</h2>"
        + _table(
            ("Began", "Server", "Result", "Took", "What was said"),
            (_record_row(record) for record in records),
        ),
    )


def log(record: Record) -> str:
    """One probe, step by step."""
    title = f"Probe {record.number} of {record.server}"
    return _page(
        title, f'<p><a href=".">All probes</a></p><pre>{html.escape(render(record))}</pre>'
    )


def _page(title: str, body: str) -> str:
    name = html.escape(title)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title>"
        f"<style>{_STYLE}</style><h1>{name}</h1>{body}</html>\n"
    )


def _table(head: Iterable[str], rows: Iterable[str]) -> str:
    titles = "".join(f"<th>{title}" for title in head)
    return f"<table><tr>{titles}</tr>{''.join(rows)}</table>"


def _server_row(row: ServerSummary) -> str:
    target = quote(row.name, safe="")
    why = html.escape(row.detail, quote=True) if row.state != "ok" else ""
    return (
        f"<tr><td>{html.escape(row.name)}"
        f'<td class="{row.state}" title="{why}">{row.state}'
        f"<td>{row.transport}<td><code>{html.escape(row.endpoint)}</code>"
        f'<td><a href="probe?target={target}&amp;debug=true">probe now</a></tr>'
    )


def _record_row(record: Record) -> str:
    result = record.result
    when = datetime.fromtimestamp(record.when, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return (
        f"<tr><td>{when} UTC<td>{html.escape(record.server)}"
        f'<td class="{result.value}" title="{html.escape(result.reason, quote=True)}">'
        f"{result.value}<td>{result.seconds:.3f} s"
        f'<td><a href="logs?id={record.number}">log</a></tr>'
    )
