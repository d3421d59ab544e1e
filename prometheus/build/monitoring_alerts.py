"""Alerts about the alerting: mails that do not leave, and the sign of life."""

from __future__ import annotations

from prometheus.build.alerts import Text, alert, thresholds
from prometheus.build.promql import total
from prometheus.build.rule import Alert, Group
from prometheus.build.settings import Settings

LINK = ("mcp-exporter", ())


def groups(settings: Settings) -> list[Group]:
    """One group: they are read together."""
    return [Group("mcp-monitoring", [_notifications(settings), _watchdog(settings)])]


def _notifications(settings: Settings) -> Alert:
    window = thresholds(settings, "notifications_failing")["window"]
    failed = f"increase(alertmanager_notifications_failed_total[{window}])"
    return alert(
        settings,
        "MCPNotificationsFailing",
        "critical",
        "monitoring",
        total("job, instance, integration", failed) + " > 0",
        Text(
            "Alertmanager cannot notify through {{ $labels.integration }}",
            "{{ $value | humanize }} notifications of {{ $labels.instance }} through"
            f" {{{{ $labels.integration }}}} failed in the last {window}. Nobody may have been"
            " told of what fires.",
            f"{{{{ $value | humanize }}}} notifications in {window}",
        ),
        linked=LINK,
    )


def _watchdog(settings: Settings) -> Alert:
    return alert(
        settings,
        "Watchdog",
        "none",
        "monitoring",
        "vector(1)",
        Text(
            "Alerting works from Prometheus to the receiver",
            "This alert always fires. What receives it must complain when it stops coming.",
            "always 1",
        ),
        linked=LINK,
    )
