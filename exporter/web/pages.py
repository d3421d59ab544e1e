"""The pages that people read: servers with their states, the last probes, and one probe."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from exporter import __version__
from exporter.probe.explain import render
from exporter.probe.history import Record

SHOWN_PROBES = 20

_STYLE = """
:root{color-scheme:light dark;--line:#d0d7de;--soft:#59636e;--box:#f6f8fa;--link:#0969da;
--good:#1a7f37;--warn:#9a6700;--bad:#cf222e}
@media(prefers-color-scheme:dark){:root{--line:#3d444d;--soft:#9198a1;--box:#151b23;
--link:#4493f8;--good:#3fb950;--warn:#d29922;--bad:#f85149}}
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}
a{color:var(--link);white-space:nowrap}nav a{margin-right:1rem}small,.soft{color:var(--soft)}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.4rem .8rem .4rem 0;
border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:600}.number{text-align:right;font-variant-numeric:tabular-nums}
code,td{overflow-wrap:anywhere}b{font-weight:600}small{display:block}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--box);padding:1rem}
.ok,.success,.unauthorized{color:var(--good)}.degraded{color:var(--warn)}
.error,.timeout,.connect_error,.protocol_error,.process_exit{color:var(--bad)}
@media(max-width:45rem){tr:first-child{display:none}table,tbody,tr,td{display:block}
tr{border-bottom:1px solid var(--line);padding:.6rem 0}
td{border:0;padding:0}.number{text-align:left}
td[data-label]::before{content:attr(data-label)" ";color:var(--soft)}}
"""
_LINKS = (
    ("metrics", "Metrics"),
    ("config", "Configuration"),
    ("logs", "Probes"),
    ("-/healthy", "Health"),
    ("-/ready", "Readiness"),
)
_WORST_FIRST = ("error", "degraded", "unknown", "ok")


@dataclass(frozen=True, slots=True)
class ServerSummary:
    """One server on the landing page: in its state since ``since`` (Unix time), because of
    ``reason``; ``path`` is where clients reach it."""

    name: str
    transport: str
    state: str
    since: float
    reason: str
    path: str
    calls: int = 0
    failures: int = 0
    """Of the calls."""


def landing(
    rows: Iterable[ServerSummary], records: Sequence[Record], mcp_url: str, now: float
) -> str:
    """What the exporter is, its servers, and the last probes, failed ones first."""
    links = "".join(f'<a href="{path}">{text}</a>' for path, text in _LINKS)
    worst_first = sorted(rows, key=lambda row: _WORST_FIRST.index(row.state))
    shown = sorted(records, key=lambda record: record.result.is_alive)[:SHOWN_PROBES]
    return _page(
        "mcp-exporter",
        f"<p>Relays Model Context Protocol traffic and measures it. Version {__version__}.</p>"
        f"<nav>{links}</nav><h2>Servers</h2>"
        + _table(
            ("Server", "State", "Calls", "Failed", "Endpoint", "Probe"),
            [_server_row(row, mcp_url, now) for row in worst_first],
            "No server is configured.",
        )
        + "<h2>Last probes</h2>"
        + _probes(shown)
        + "<p class=soft>Failed ones first. "
        + f'<a href="logs">All {len(records)} that are kept</a></p>',
    )


def history(records: Sequence[Record]) -> str:
    """All probes that are kept, the newest first."""
    return _page("Probes", '<p><a href=".">All servers</a></p>' + _probes(records))


def log(record: Record) -> str:
    """One probe, step by step."""
    title = f"Probe {record.number} of {record.server}"
    links = '<p><a href=".">All servers</a> · <a href="logs">All probes</a></p>'
    return _page(title, f"{links}<pre>{html.escape(render(record))}</pre>")


def _page(title: str, body: str) -> str:
    name = html.escape(title)
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>{name}</title><style>{_STYLE}</style><h1>{name}</h1>{body}</html>\n"
    )


def _table(head: Sequence[str], rows: Sequence[str], empty: str) -> str:
    if not rows:
        return f"<p>{empty}</p>"
    titles = "".join(f"<th>{title}" for title in head)
    return f"<table><tr>{titles}</tr>{''.join(rows)}</table>"


def _server_row(row: ServerSummary, mcp_url: str, now: float) -> str:
    target = quote(row.name, safe="")
    return (
        f"<tr><td><b>{html.escape(row.name)}</b><small>{row.transport}</small>"
        f"<td>{_state(row, now)}"
        f'<td class=number data-label="calls">{row.calls:,}'
        f'<td class=number data-label="failed">{row.failures:,}'
        f"<td><code>{html.escape(mcp_url + row.path)}</code>"
        f'<td><a href="probe?target={target}&amp;debug=true">probe now</a></tr>'
    )


def _state(row: ServerSummary, now: float) -> str:
    since = f'<time datetime="{_utc(row.since)}">for {_ago(now - row.since)}</time>'
    state = f"<span class={row.state}>{row.state}</span> <span class=soft>{since}</span>"
    return state if row.state == "ok" else f"{state}<small>{html.escape(row.reason)}</small>"


def _probes(records: Sequence[Record]) -> str:
    return _table(
        ("Began", "Server", "Result", "Took", "What was said"),
        [_record_row(record) for record in records],
        "Nothing was probed yet.",
    )


def _record_row(record: Record) -> str:
    result = record.result
    reason = f"<small>{html.escape(result.reason)}</small>" if result.reason else ""
    return (
        f"<tr><td>{_utc(record.when)} UTC<td>{html.escape(record.server)}"
        f'<td><span class="{result.value}">{result.value}</span>{reason}'
        f"<td>{result.seconds:.3f} s"
        f'<td><a href="logs?id={record.number}">log</a></tr>'
    )


def _utc(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _ago(seconds: float) -> str:
    """The two largest units: ``3d4h``, ``12m5s``, ``0s``."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        parts += [f"{count}{unit}"] if count or parts else []
    return "".join(part for part in parts[:2] if part[:-1] != "0") or "0s"
