"""Scrapes exporters as Prometheus does, beside a measurement."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import requests

HEADERS = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}


def samples(address: str) -> dict[str, float]:
    """What an exporter says now, by the name of each series with its labels.

    Raises ``OSError`` where it says nothing.
    """
    reply = requests.get(f"http://{address}/metrics", headers=HEADERS, timeout=10)
    reply.raise_for_status()
    return samples_of(reply.text)


def samples_of(text: str) -> dict[str, float]:
    """Likewise, from the text that it says."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    # What follows the value is an exemplar.
    found = (line.partition(" # ")[0].rpartition(" ") for line in lines)
    return {series: float(value) for series, _, value in found}


class Scraper:
    """Scrapes some addresses again and again, in a thread."""

    def __init__(self, addresses: Sequence[str], interval: float) -> None:
        self._addresses = addresses
        self._interval = interval
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failure: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(self._interval):
            for address in self._addresses:
                self._scrape(address)

    def _scrape(self, address: str) -> None:
        try:
            reply = requests.get(f"http://{address}/metrics", headers=HEADERS, timeout=10)
            reply.raise_for_status()
        except requests.RequestException as error:
            self.failure = error
