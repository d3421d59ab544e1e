"""What the specification and the metric contract fix."""

from __future__ import annotations

OTHER = "_other"
"""The label value that stands for every value that was not admitted."""


MODERN = "2026-07-28"
"""The first protocol version without sessions."""


LIST_CHANGED = "notifications/tools/list_changed"
