"""Reads ``objectives.yml``: every objective, threshold and link that the rules are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from exporter.telemetry.metrics import DURATION_BUCKETS
from prometheus.build.alerts import THRESHOLDS

OBJECTIVES = ("availability", "latency")
DURATIONS = ("after", "for", "keep_firing_for", "window")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class SettingsError(Exception):
    """Settings that cannot be used: one line with the place and the mend."""


@dataclass(frozen=True, slots=True)
class Objective:
    """The share of events that must be good; ``threshold`` in seconds, for latency alone."""

    target: float
    threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class BurnRate:
    """Alert when both windows spend the budget ``factor`` times as fast as it lasts."""

    long: str
    short: str
    factor: float
    hold: str
    severity: str


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole file, checked."""

    job: str
    identity: tuple[str, ...]
    grafana: str
    runbook: str
    exporter: str
    """With ``{instance}`` where the target's own address belongs."""
    defaults: Mapping[str, Objective]
    overrides: Mapping[str, Mapping[str, Objective | None]]
    fault_codes: tuple[str, ...]
    minimum_failures: int
    burn_rates: tuple[BurnRate, ...]
    alerts: Mapping[str, Mapping[str, Any]]


def seconds(duration: str, place: str = "duration") -> int:
    """Seconds of a Prometheus duration of one unit, such as ``30m``."""
    found = re.fullmatch(r"(\d+)([smhd])", str(duration))
    if found is None:
        raise SettingsError(f"{place}: {duration!r} is no duration; write one such as 30s or 5m")
    return int(found[1]) * SECONDS[found[2]]


def load(path: Path) -> Settings:
    """Read the settings, or raise `SettingsError` with one clear line."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        return parse(document)
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: {' '.join(str(error).split())}") from error
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def parse(document: Any) -> Settings:
    """Settings from what YAML made of the file."""
    top = _table(document, "top level", _TOP)
    links = _table(top["links"], "links", {"exporter", "grafana", "runbook"})
    plan = _table(top["objectives"], "objectives", _PLAN)
    defaults = {name: _objective(name, plan[name], f"objectives.{name}") for name in OBJECTIVES}
    return Settings(
        job=str(top["job"]),
        identity=_identity(top["identity"]),
        grafana=str(links["grafana"]).rstrip("/"),
        runbook=str(links["runbook"]),
        exporter=_address(links["exporter"], "links.exporter"),
        defaults=defaults,
        overrides=_overrides(top["servers"] or {}, defaults),
        fault_codes=tuple(str(code) for code in plan["server_fault_codes"]),
        minimum_failures=int(plan["minimum_failures"]),
        burn_rates=tuple(_burn_rate(row) for row in plan["burn_rates"]),
        alerts=_alerts(top["alerts"]),
    )


_TOP = {"job", "identity", "links", "objectives", "servers", "alerts"}
_PLAN = {*OBJECTIVES, "server_fault_codes", "minimum_failures", "burn_rates"}


def _table(value: Any, place: str, keys: set[str], optional: bool = False) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"{place}: expected a mapping with {', '.join(sorted(keys))}")
    unknown = sorted(str(key) for key in value.keys() - keys)
    if unknown:
        raise SettingsError(f"{place}: {unknown[0]!r} is unknown; use {', '.join(sorted(keys))}")
    missing = sorted(keys - value.keys())
    if missing and not optional:
        raise SettingsError(f"{place}: {missing[0]!r} is missing")
    return value


def _address(value: Any, place: str) -> str:
    if not isinstance(value, str) or not re.match(r"https?://[^/]", value):
        raise SettingsError(
            f"{place}: {value!r} is no address; write one such as http://{{instance}}"
        )
    return value.rstrip("/")


def _identity(value: Any) -> tuple[str, ...]:
    labels = value if isinstance(value, list) else [value]
    for label in labels:
        if not re.fullmatch(r"[a-zA-Z_]\w*", str(label)):
            raise SettingsError(f"identity: {label!r} is no label; write a list such as [job]")
    if "job" not in labels or "instance" in labels:
        raise SettingsError("identity: must have job, and not instance, in which replicas differ")
    return tuple(labels)


def _objective(name: str, value: Any, place: str, base: Objective | None = None) -> Objective:
    keys = {"target", "threshold"} if name == "latency" else {"target"}
    given = _table(value, place, keys, optional=base is not None)
    target = _target(given.get("target", base.target if base else None), f"{place}.target")
    if "threshold" not in given:
        return Objective(target, base.threshold if base else 0.0)
    return Objective(target, _threshold(given["threshold"], f"{place}.threshold"))


def _target(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise SettingsError(f"{place}: {value!r} must lie between 0 and 1, as 0.999 does")
    return float(value)


def _threshold(value: Any, place: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)", str(value))
    limit = float(found[1]) * {"ms": 0.001, "s": 1, "m": 60}[found[2]] if found else -1.0
    if limit not in DURATION_BUCKETS:
        known = ", ".join(f"{bucket:g}s" for bucket in DURATION_BUCKETS)
        raise SettingsError(f"{place}: {value!r} is no bucket boundary; use one of {known}")
    return limit


def _overrides(
    servers: Any, defaults: Mapping[str, Objective]
) -> dict[str, dict[str, Objective | None]]:
    if not isinstance(servers, dict):
        raise SettingsError("servers: expected a mapping of server names to objectives")
    found: dict[str, dict[str, Objective | None]] = {}
    for server, changes in servers.items():
        place = f"servers.{server}"
        given = _table(changes, place, set(OBJECTIVES), optional=True)
        found[str(server)] = {
            name: _override(name, value, f"{place}.{name}", defaults[name])
            for name, value in given.items()
        }
    return found


def _override(name: str, value: Any, place: str, base: Objective) -> Objective | None:
    # YAML 1.1 reads a bare `off` as false.
    return None if value in (False, "off") else _objective(name, value, place, base)


def _alerts(value: Any) -> dict[str, dict[str, Any]]:
    given = _table(value, "alerts", set(THRESHOLDS))
    for name, keys in THRESHOLDS.items():
        for key, limit in _table(given[name], f"alerts.{name}", keys).items():
            _limit(limit, key, f"alerts.{name}.{key}")
    return given


def _limit(value: Any, key: str, place: str) -> None:
    if key in DURATIONS:
        seconds(value, place)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingsError(f"{place}: {value!r} is no number")


def _burn_rate(row: Any) -> BurnRate:
    place = "objectives.burn_rates"
    given = _table(row, place, {"long", "short", "factor", "for", "severity"})
    for key in ("long", "short", "for"):
        seconds(given[key], f"{place}.{key}")
    if seconds(given["short"]) >= seconds(given["long"]):
        raise SettingsError(f"{place}: short {given['short']} must be below long {given['long']}")
    return BurnRate(
        given["long"], given["short"], float(given["factor"]), given["for"], given["severity"]
    )
