"""The two links of every alert."""

from __future__ import annotations

from prometheus.build.settings import Settings

ESCAPES = (
    ("%", "%25"),
    ("&", "%26"),
    ("#", "%23"),
    ("[+]", "%2B"),
    (" ", "%20"),
    ("<", "%3C"),
    (">", "%3E"),
    ("[|]", "%7C"),
    ("[\\x22]", "%22"),
)
"""What breaks a query, or a link in Slack, in names that anyone chooses.

Prometheus 2.42 has no ``urlQueryEscape``.
"""

FREE = frozenset({"server", "tool"})


def runbook(settings: Settings, alert: str) -> str:
    """The alert's heading in the runbook; anchors are lower case."""
    return f"{settings.runbook}#{alert.lower()}"


def dashboard(settings: Settings, uid: str, *labels: str) -> str:
    """A dashboard with its variables set from the alert's labels."""
    variables = "&".join(f"var-{label}={_escaped(label)}" for label in labels)
    return f"{settings.grafana}/d/{uid}" + (f"?{variables}" if labels else "")


def _escaped(label: str) -> str:
    steps = ESCAPES if label in FREE else ()
    chain = "".join(f' | reReplaceAll "{plain}" "{code}"' for plain, code in steps)
    return f"{{{{ $labels.{label}{chain} }}}}"
