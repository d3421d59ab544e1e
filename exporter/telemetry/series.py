"""Counters, gauges and histograms that cost a call next to nothing, and a scrape little more.

They look like prometheus_client's and stand in its registries, but without a lock: one thread
writes, that of the loop that relays, and any thread may read. Each series keeps the lines that
it was last written as, so that a scrape renders only what has changed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import time
from typing import Any, Generic, TypeVar, cast

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

_number = cast("Callable[[float], str]", floatToGoString)

Seen = tuple[Any, bool]
"""The state that lines were rendered from, and whether as OpenMetrics."""


class Count:
    """A value that only grows."""

    __slots__ = ("labels", "lines", "seen", "value")

    def __init__(self, labels: Mapping[str, str]) -> None:
        self.labels = labels
        self.value = 0.0
        self.seen: Seen | None = None
        self.lines = ""

    @property
    def state(self) -> float:
        """Another one wherever the lines are other ones."""
        return self.value

    def inc(self, amount: float = 1.0) -> None:
        """Add to it."""
        self.value += amount


class Level(Count):
    """A value that goes up and down."""

    __slots__ = ()

    def dec(self, amount: float = 1.0) -> None:
        """Take from it."""
        self.value -= amount

    def set(self, value: float) -> None:
        """Replace it."""
        self.value = value


class Distribution:
    """How often values fell between the bounds of buckets."""

    __slots__ = ("_bounds", "count", "counts", "exemplars", "labels", "lines", "seen", "sum")

    def __init__(self, labels: Mapping[str, str], bounds: tuple[float, ...]) -> None:
        self.labels = labels
        self.count = 0
        self.sum = 0.0
        self.counts = [0] * (len(bounds) + 1)
        self.exemplars: dict[int, tuple[str, float, float]] = {}
        self.seen: Seen | None = None
        self.lines = ""
        self._bounds = bounds

    @property
    def state(self) -> int:
        """Another one wherever the lines are other ones."""
        return self.count

    def observe(self, value: float, exemplar: str | None = None) -> None:
        """Note one value; ``exemplar`` is the id of the trace that it came about in, with a dash
        and that of a span where it is one of ours."""
        place = bisect_left(self._bounds, value)
        self.counts[place] += 1
        self.sum += value
        if exemplar is not None:
            self.exemplars[place] = (exemplar, value, time())
        self.count += 1  # last: who sees the old count will come again


Series = TypeVar("Series", Count, Level, Distribution)


class Family(ABC, Generic[Series]):
    """The series of one name; a collector of prometheus_client's registries."""

    kind = ""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Iterable[str],
        make: Callable[[Mapping[str, str]], Series],
    ) -> None:
        self.name = name
        self.documentation = text
        self.label_names = tuple(labels)
        self._make: Callable[[Mapping[str, str]], Series] = make
        self._series: dict[tuple[str, ...], Series] = {}

    def labels(self, *values: str) -> Series:
        """The series with these label values, in the order of the names."""
        series = self._series.get(values)
        if series is None:
            pairs = zip(self.label_names, map(str, values), strict=True)
            series = self._series[values] = self._make(dict(pairs))
        return series

    def remove(self, *values: str) -> None:
        """Drop one series, where it is there."""
        self._series.pop(values, None)

    def remove_by_label(self, name: str, value: str) -> None:
        """Drop every series with this label value."""
        if name in self.label_names:
            place = self.label_names.index(name)
            for values in [values for values in self._series if values[place] == value]:
                del self._series[values]

    def describe(self) -> list[Metric]:
        """The family without its series."""
        return [self._metric()]

    def collect(self) -> list[Metric]:
        """Return the family with its series, as objects instead of text."""
        metric = self._metric()
        for series in self._all():
            metric.samples += self._samples(series)
        return [metric]

    def render(self, open_metrics: bool) -> Iterator[str]:
        """The family as text: its head, then the lines of each series."""
        name = self.name + ("_total" if self.kind == "counter" and not open_metrics else "")
        text = _escaped(self.documentation)
        text = text if open_metrics else text.replace(r"\"", '"')
        yield f"# HELP {name} {text}\n# TYPE {name} {self.kind}\n"
        for series in self._all():
            seen = (series.state, open_metrics)
            if series.seen != seen:
                series.lines = "".join(_line(each, open_metrics) for each in self._samples(series))
                series.seen = seen
            yield series.lines

    def _all(self) -> list[Series]:
        return list(self._series.copy().values())  # in one step: another thread may add to it

    @abstractmethod
    def _metric(self) -> Metric:
        """An empty family of its kind."""

    @abstractmethod
    def _samples(self, series: Series) -> list[Sample]:
        """What one series says now."""


class Counter(Family[Count]):
    """A family of counters; its name comes without ``_total``."""

    kind = "counter"

    def __init__(self, name: str, text: str, labels: Iterable[str] = ()) -> None:
        super().__init__(name, text, labels, Count)

    def _metric(self) -> Metric:
        return CounterMetricFamily(self.name, self.documentation, labels=self.label_names)

    def _samples(self, series: Count) -> list[Sample]:
        return [Sample(f"{self.name}_total", dict(series.labels), series.value)]


class Gauge(Family[Level]):
    """A family of gauges."""

    kind = "gauge"

    def __init__(self, name: str, text: str, labels: Iterable[str] = ()) -> None:
        super().__init__(name, text, labels, Level)

    def _metric(self) -> Metric:
        return GaugeMetricFamily(self.name, self.documentation, labels=self.label_names)

    def _samples(self, series: Level) -> list[Sample]:
        return [Sample(self.name, dict(series.labels), series.value)]


class Histogram(Family[Distribution]):
    """A family of histograms with the same bounds, which are inclusive and ascend."""

    kind = "histogram"

    def __init__(
        self, name: str, text: str, labels: Iterable[str], bounds: Iterable[float]
    ) -> None:
        edges = tuple(float(bound) for bound in bounds)
        super().__init__(name, text, labels, lambda values: Distribution(values, edges))
        self._edges = [*(_number(edge) for edge in edges), "+Inf"]

    def _metric(self) -> Metric:
        return HistogramMetricFamily(self.name, self.documentation, labels=self.label_names)

    def _samples(self, series: Distribution) -> list[Sample]:
        samples, total = [], 0
        for place, edge in enumerate(self._edges):
            total += series.counts[place]
            labels = {"le": edge, **series.labels}
            exemplar = _exemplar(series.exemplars.get(place))
            samples.append(Sample(f"{self.name}_bucket", labels, float(total), None, exemplar))
        labels = dict(series.labels)
        samples.append(Sample(f"{self.name}_count", labels, float(total)))
        samples.append(Sample(f"{self.name}_sum", labels, series.sum))
        return samples


def _exemplar(kept: tuple[str, float, float] | None) -> Exemplar | None:
    if kept is None:
        return None
    trace_id, sign, span_id = kept[0].partition("-")
    labels = {"trace_id": trace_id, "span_id": span_id} if sign else {"trace_id": trace_id}
    return Exemplar(labels, *kept[1:])


def _line(sample: Sample, open_metrics: bool) -> str:
    labels = _labels(sample.labels)
    exemplar = ""
    if open_metrics and sample.exemplar is not None:
        at = sample.exemplar
        exemplar = f" # {_labels(at.labels) or '{}'} {_number(at.value)} {at.timestamp}"
    return f"{sample.name}{labels} {_number(sample.value)}{exemplar}\n"


def _labels(pairs: Mapping[str, str]) -> str:
    if not pairs:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(pairs[name])}"' for name in sorted(pairs)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
