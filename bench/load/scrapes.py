"""Scrapes exporters as Prometheus does, beside a measurement."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import requests

HEADERS = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}


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
