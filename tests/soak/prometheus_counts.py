"""What Prometheus has counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.support.running import get, wait_for

PATIENCE = 120.0


class PrometheusCounts:
    """One Prometheus."""

    def __init__(self, url: str) -> None:
        self._url = url

    def sums(self, metric: str, *labels: str, where: str = "") -> Counter[tuple[str, ...]]:
        """The sums of a counter for each combination of labels, without those that are 0."""
        rows = self._query(f"sum by ({', '.join(labels)}) ({metric}{{{where}}})")
        sums: Counter[tuple[str, ...]] = Counter()
        for row in rows:
            value = float(row["value"][1])
            assert value.is_integer(), row
            sums[tuple(row["metric"].get(label, "") for label in labels)] = int(value)
        return +sums

    def total(self, metric: str) -> int:
        """The sum of a counter."""
        return self.sums(metric)[()]

    def wait_for_scrape(self, since: float) -> None:
        """Wait until it has scraped what was true at a time (Unix seconds)."""
        self.wait_until(f"timestamp(mcp_exporter_build_info) > {since}")

    def wait_until(self, condition: str) -> None:
        """Wait until a query answers anything."""
        wait_for(lambda: self._query(condition), PATIENCE, condition)

    def _query(self, query: str) -> list[Any]:
        found: list[Any] = get(f"{self._url}/api/v1/query", query=query)["data"]["result"]
        return found
