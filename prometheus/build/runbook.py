"""Makes a page of ``runbook.md`` that Prometheus itself serves, so that every alert's link leads
somewhere with no account and no other server: ``/consoles/runbook.html``."""

from __future__ import annotations

import html
import re

PAGE = """\
<!DOCTYPE html>
<!-- Generated from runbook.md by python -m prometheus.build; do not edit. -->
<html lang="en">
<head>
<meta charset="utf-8">
<title>MCP runbook</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 48em; margin: 2em auto; padding: 0 1em; }}
h2 {{ margin-top: 2em; border-top: 1px solid #ccc; padding-top: 1em; }}
h2:target {{ background: #fff3cd; }}
code {{ background: #f2f2f2; padding: 0 .2em; overflow-wrap: anywhere; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
SPANS = (
    (r"\*\*(.+?)\*\*", r"<strong>\1</strong>"),
    (r"\*(.+?)\*", r"<em>\1</em>"),
    (r"\[(.+?)\]\((.+?)\)", r'<a href="\2">\1</a>'),
)


def page(markdown: str) -> str:
    """The runbook as a page; it uses headings, paragraphs, emphasis, code and links, no more."""
    blocks = [_block(block) for block in re.split(r"\n{2,}", markdown.strip())]
    return PAGE.format(body="\n".join(blocks))


def _block(text: str) -> str:
    heading = re.fullmatch(r"(#+) (.+)", text)
    if heading is None:
        return f"<p>{_inline(text)}</p>"
    level, title = len(heading[1]), heading[2]
    return f'<h{level} id="{title.lower()}">{_inline(title)}</h{level}>'


def _inline(text: str) -> str:
    """Every other piece is code, in which a star is a star."""
    pieces = html.escape(text, quote=False).split("`")
    return "".join(
        f"<code>{piece}</code>" if number % 2 else _emphasised(piece)
        for number, piece in enumerate(pieces)
    )


def _emphasised(text: str) -> str:
    for pattern, replacement in SPANS:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    return text
