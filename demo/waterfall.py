"""Traces as pages without a script: the newest of them, and one as a waterfall."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from demo.trace_store import Span, Trace

_DEEPEST = 8
_INDENTS = "".join(f".d{n}{{padding-left:{1.2 * n:.1f}rem}}" for n in range(1, _DEEPEST + 1))
_STYLE = (
    """
:root{color-scheme:light dark;--line:#d0d7de;--soft:#59636e;--bad:#cf222e;--link:#0969da;
--s0:#0969da;--s1:#1a7f37;--s2:#8250df;--s3:#9a6700}
@media(prefers-color-scheme:dark){:root{--line:#3d444d;--soft:#9198a1;--bad:#f85149;
--link:#4493f8;--s0:#4493f8;--s1:#3fb950;--s2:#ab7df8;--s3:#d29922}}
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem}
h1{font-size:1.4rem;overflow-wrap:anywhere}a{color:var(--link)}.soft{color:var(--soft)}
table{border-collapse:collapse;width:100%;table-layout:fixed}
td,th{text-align:left;vertical-align:top;padding:.35rem .8rem .35rem 0;
border-bottom:1px solid var(--line);overflow-wrap:anywhere}
th{color:var(--soft);font-weight:600}.number{text-align:right;font-variant-numeric:tabular-nums}
.name{width:38%}.number,th.number{width:6.5rem}.few{width:11rem}
svg{display:block;width:100%;height:1.4rem}rect{rx:2px}
.s0{fill:var(--s0)}.s1{fill:var(--s1)}.s2{fill:var(--s2)}.s3{fill:var(--s3)}
b.s0{color:var(--s0)}b.s1{color:var(--s1)}b.s2{color:var(--s2)}b.s3{color:var(--s3)}
.error{color:var(--bad)}rect.error{fill:var(--bad)}b{font-weight:600}
summary{cursor:pointer}dl{display:grid;grid-template-columns:max-content 1fr;gap:0 1rem;
margin:.3rem 0;font-size:.9em}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
@media(max-width:45rem){dl{display:block}.name{width:50%}}
"""
    + _INDENTS
)
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""Nothing is loaded and nothing runs, whatever a span is called."""

_COLOURS = 4
_NARROWEST = 0.4
"""Percent of the width: the shortest span is still seen."""


@dataclass(frozen=True)
class _Row:
    span: Span
    depth: int


def waterfall(trace: Trace) -> str:
    """One trace: each span below its parent, with a bar at its time."""
    begin = min(span.start for span in trace)
    length = max(1, max(span.end for span in trace) - begin)
    colours = {service: n % _COLOURS for n, service in enumerate(_services(trace))}
    rows = "".join(
        _span_row(row, begin, length, colours[row.span.service]) for row in _by_parent(trace)
    )
    services = ", ".join(f"<b class=s{n}>{_safe(name)}</b>" for name, n in colours.items())
    return _page(
        trace[0].name,
        f'<p><a href="/">All traces</a></p><p>{_spans(len(trace))} of {services}, '
        f"<b>{_duration(length)}</b>, from {_utc(begin)} UTC. "
        f"<span class=soft>Trace {trace[0].trace_id}</span></p>"
        "<table><tr><th class=name>Span<th class=number>Duration<th>When"
        f"{rows}</table>",
    )


def overview(traces: Sequence[Trace]) -> str:
    """The traces, each with a link to its page."""
    if not traces:
        return _page("Traces", "<p>No span has come yet.</p>")
    rows = "".join(_trace_row(trace) for trace in traces)
    return _page(
        "Traces",
        "<table><tr><th>First span<th>Services<th class=number>Spans"
        f"<th class=number>Duration<th class=few>Began, UTC{rows}</table>",
    )


def unknown(trace_id: str) -> str:
    """The page in the place of a trace that is not kept."""
    return _page(
        "No such trace",
        f"<p>No span of the trace {_safe(trace_id)} is kept. Spans come a second after their "
        "request; of many traces the oldest go.</p>"
        '<p><a href="/">All traces</a></p>',
    )


def _by_parent(trace: Trace) -> Iterator[_Row]:
    """Depth first. A span whose parent did not come, or that is its own ancestor, is a root."""
    ids = {span.span_id for span in trace}
    children: dict[str, list[Span]] = {}
    for span in trace:
        parent = span.parent_id if span.parent_id in ids else ""
        children.setdefault(parent, []).append(span)
    shown: set[str] = set()
    for root in (*children.get("", ()), *trace):
        waiting = [_Row(root, 0)]
        while waiting:
            row = waiting.pop()
            if row.span.span_id in shown:
                continue
            shown.add(row.span.span_id)
            yield row
            below = reversed(children.get(row.span.span_id, ()))
            waiting += [_Row(child, row.depth + 1) for child in below]


def _span_row(row: _Row, begin: int, length: int, colour: int) -> str:
    span = row.span
    indent = f" class=d{min(row.depth, _DEEPEST)}" if row.depth else ""
    error = " <span class=error>error</span>" if span.is_error else ""
    return (
        f'<tr id="{span.span_id}"><td{indent}><details><summary>{_safe(span.name)}{error}</summary>'
        f"{_facts(span)}</details><b class=s{colour}>{_safe(span.service)}</b> "
        f"<span class=soft>{span.kind}</span>"
        f"<td class=number>{_duration(span.duration)}"
        f"<td>{_bar(span, begin, length, colour)}"
    )


def _bar(span: Span, begin: int, length: int, colour: int) -> str:
    width = max(_NARROWEST, 100 * span.duration / length)
    left = min(100 * (span.start - begin) / length, 100 - width)
    kind = "error" if span.is_error else f"s{colour}"
    return (
        "<svg aria-hidden=true>"
        f'<rect class={kind} x="{left:.3f}%" width="{width:.3f}%" y=25% height=60% /></svg>'
    )


def _facts(span: Span) -> str:
    told = {"span": span.span_id, "parent": span.parent_id or "none", **span.attributes}
    facts = "".join(f"<dt>{_safe(key)}<dd>{_safe(value)}" for key, value in told.items())
    links = "".join(
        f'<dt>linked trace<dd><a href="/trace/{each}">{each}</a>' for each in span.links
    )
    return f"<dl>{facts}{links}</dl>"


def _trace_row(trace: Trace) -> str:
    begin, end = trace[0].start, max(span.end for span in trace)
    is_failed = any(span.is_error for span in trace)
    error = " <span class=error>error</span>" if is_failed else ""
    return (
        f'<tr><td><a href="/trace/{trace[0].trace_id}">{_safe(trace[0].name)}</a>{error}'
        f"<td>{', '.join(map(_safe, _services(trace)))}<td class=number>{len(trace)}"
        f"<td class=number>{_duration(max(0, end - begin))}<td>{_utc(begin)}"
    )


def _services(trace: Trace) -> list[str]:
    return list(dict.fromkeys(span.service for span in trace))


def _spans(count: int) -> str:
    return "1 span" if count == 1 else f"{count} spans"


def _duration(nanoseconds: int) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:,.2f} {unit}"
    return f"{nanoseconds / 1e3:,.0f} µs"


def _utc(nanoseconds: int) -> str:
    try:
        moment = datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    except (OverflowError, ValueError):  # past the year 9999
        return "an unknown time"
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _safe(text: str) -> str:
    """Text of others: no markup, and no letter that turns the line round."""
    return f"<bdi>{html.escape(text)}</bdi>"


def _page(title: str, body: str) -> str:
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{_safe(title)}</h1>{body}</html>\n"
    )
