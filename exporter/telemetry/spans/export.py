"""Begins and ends the sending of spans, as the configuration says."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import uuid4

from exporter import __version__
from exporter.config.model import TracingSettings
from exporter.config.redact import shown_endpoint
from exporter.telemetry.metrics import Metrics
from exporter.telemetry.spans.sender import PATIENCE, SpanSender
from exporter.telemetry.spans.tracer import Tracer

LAST_SPANS_TIME = 2.0
"""Seconds that a collector is given for what is left."""

AGENT = f"mcp-exporter/{__version__} Python/{platform.python_version()}"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Export:
    settings: TracingSettings
    tracer: Tracer
    sender: SpanSender


class SpanExport:
    """The tracer and the sender that are in force; none where spans are not wanted."""

    def __init__(
        self, metrics: Metrics, proxy_for: Callable[[str], str | None] = lambda _: None
    ) -> None:
        self._metrics = metrics
        self._proxy_for = proxy_for
        self._instance = str(uuid4())
        self._export: _Export | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def apply(self, settings: TracingSettings | None) -> None:
        """Trace as these settings say; what is unchanged goes on undisturbed."""
        old = self._export
        if (old.settings if old is not None else None) == settings:
            return
        self._metrics.tracing.tracer = None
        self._export = None
        if old is not None:
            task = self._loop.create_task(self._end(old))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        if settings is not None:
            self._begin(settings)

    async def close(self) -> None:
        """Send what is left, within ``LAST_SPANS_TIME``."""
        self.apply(None)
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*self._ending)

    def _begin(self, settings: TracingSettings) -> None:
        from exporter.telemetry.spans.collector import HttpCollector
        from exporter.telemetry.spans.otlp import OtlpEncoder, rejected

        spans = self._metrics.spans
        collector = HttpCollector(settings, AGENT, rejected, self._proxy_for(settings.endpoint))
        sender = SpanSender(collector, spans, settings.timeout)
        encode = OtlpEncoder(_resource(settings, self._instance), __version__)
        tracer = Tracer(settings, encode, sender, spans)
        sender.start()
        self._export = _Export(settings, tracer, sender)
        self._metrics.tracing.tracer = tracer
        if self._timer is None:
            self._timer = self._loop.call_later(PATIENCE, self._flush)
        log.info("spans are sent", extra={"endpoint": shown_endpoint(settings)})

    def _flush(self) -> None:
        """Encode what has waited for a second."""
        self._timer = None
        if self._export is not None:
            self._timer = self._loop.call_later(PATIENCE, self._flush)
            self._metrics.spans.update_queued()
            self._export.tracer.flush()

    async def _end(self, export: _Export) -> None:
        export.tracer.flush()
        export.sender.stop(LAST_SPANS_TIME)
        await asyncio.to_thread(export.sender.join, LAST_SPANS_TIME)
        self._metrics.spans.update_queued()


def _resource(settings: TracingSettings, instance: str) -> Mapping[str, str]:
    return {
        "service.name": "mcp-exporter",
        "service.version": __version__,
        "service.instance.id": instance,
        **settings.resource,
    }
