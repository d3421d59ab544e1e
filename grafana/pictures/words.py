"""Numbers as Grafana's units write them."""

from __future__ import annotations

import math
from collections.abc import Callable

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
_KILO = ("", " K", " Mil", " Bil")
_BYTES = ("B", "KiB", "MiB", "GiB")
_SECONDS = ((1.0, "s", 1.0), (1e-3, "ms", 1e3), (1e-9, "µs", 1e6))
_SPANS = ((DAY, "days"), (HOUR, "hours"), (MINUTE, "mins"))


def worded(value: float, unit: str, now: float, decimals: int | None = None) -> str:
    """A number with its unit; ``now`` is the Unix time that ages are counted from."""
    if math.isnan(value):
        return ""
    if unit == "dateTimeFromNow":
        return _ago(now - value / 1000)
    return _UNITS.get(unit, _plain)(value, decimals)


def _ago(seconds: float) -> str:
    for size, name in _SPANS:
        if seconds >= size:
            return f"{seconds / size:.0f} {name} ago"
    return "a few seconds ago"


def _rounded(value: float, decimals: int | None, most: int = 2) -> str:
    if decimals is not None:
        return f"{value:.{decimals}f}"
    text = f"{value:.{most}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _plain(value: float, decimals: int | None) -> str:
    return _rounded(value, decimals, 3)


def _share(value: float, decimals: int | None) -> str:
    return f"{_rounded(value * 100, decimals)}%"


def _seconds(value: float, decimals: int | None) -> str:
    for size, name in _SPANS:
        if abs(value) >= size:
            return f"{_rounded(value / size, decimals)} {name}"
    for least, name, factor in _SECONDS:
        if abs(value) >= least:
            return f"{_rounded(value * factor, decimals)} {name}"
    return "0 s"


def _scaled(base: float, names: tuple[str, ...], suffix: str = "") -> Callable[..., str]:
    def word(value: float, decimals: int | None) -> str:
        power = 0
        while abs(value) >= base and power < len(names) - 1:
            value, power = value / base, power + 1
        return f"{_rounded(value, decimals)}{names[power]}{suffix}"

    return word


_UNITS: dict[str, Callable[[float, int | None], str]] = {
    "percentunit": _share,
    "s": _seconds,
    "short": _scaled(1000, _KILO),
    "bytes": _scaled(1024, tuple(f" {name}" for name in _BYTES)),
    "Bps": _scaled(1024, tuple(f" {name}/s" for name in _BYTES)),
    "reqps": lambda value, decimals: f"{_rounded(value, decimals, 3)} req/s",
    "locale": lambda value, decimals: f"{value:,.{decimals or 0}f}",
    "ops": lambda value, decimals: f"{_rounded(value, decimals)} ops/s",
}
