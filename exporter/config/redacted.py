"""The configuration in force as ``/config`` shows it: without a single secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import yaml

from exporter.config.limits import Timeout
from exporter.config.model import (
    HIDDEN,
    Config,
    Limits,
    ProbeSettings,
    Server,
    TracingSettings,
    masked_proxy,
    masked_url,
)
from exporter.config.redact import Redactor, shown_endpoint
from exporter.config.upstream_tls import UpstreamTls
from exporter.config.validators import format_duration


def render(config: Config) -> str:
    """The configuration as YAML. Values of ``env`` and ``headers`` are all hidden."""
    shown = {
        "mcpServers": {name: _server(server) for name, server in config.servers.items()},
        "limits": _settings(config.limits),
    }
    if config.tracing is not None:
        shown["tracing"] = _tracing(config.tracing)
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)


def _server(server: Server) -> dict[str, Any]:
    redact = Redactor(server)
    shown: dict[str, Any] = {"type": server.transport}
    if server.transport == "stdio":
        shown["command"] = redact(server.command or "")
        shown["args"] = [redact(argument) for argument in server.masked_args or server.args]
        shown["env"] = _hidden(server.env)
        shown["cwd"] = server.cwd and redact(server.cwd)
    else:
        shown["url"] = redact(masked_url(server.url or ""))
        shown["headers"] = _hidden(server.headers)
        shown["proxy"] = server.proxy and redact(masked_proxy(server.proxy))
        shown["tls"] = server.tls and _tls(server.tls)
    shown["propagate"] = server.propagate
    shown["timeout"] = _timeout(server.timeout)
    shown["idle_timeout"] = format_duration(server.idle_timeout)
    shown["probe"] = _settings(server.probe)
    return {key: value for key, value in shown.items() if value not in (None, {}, [])}


def _timeout(timeout: Timeout) -> str | dict[str, str]:
    if timeout.total is None:
        return format_duration(timeout.seconds)
    return {"idle": format_duration(timeout.seconds), "total": format_duration(timeout.total)}


def _tracing(tracing: TracingSettings) -> dict[str, Any]:
    shown = {
        "endpoint": shown_endpoint(tracing),
        "headers": _hidden(tracing.headers),
        "compression": tracing.compression,
        "timeout": format_duration(tracing.timeout),
        "sample": tracing.sample,
        "always": sorted(tracing.always),
        "slower_than": format_duration(tracing.slower_than),
        "per_second": tracing.per_second,
        "context": tracing.context,
        "propagate": tracing.propagate,
        # A variable may be in one.
        "resource": _hidden(tracing.resource),
    }
    return {key: value for key, value in shown.items() if value != {}}


def _tls(tls: UpstreamTls) -> dict[str, str]:
    names = ("ca_file", "cert_file", "key_file", "server_name")
    given = {name: getattr(tls, name) for name in names}
    return {name: str(value) for name, value in given.items() if value}


def _hidden(values: Mapping[str, str]) -> dict[str, str]:
    return dict.fromkeys(values, HIDDEN)


def _settings(settings: ProbeSettings | Limits) -> dict[str, Any]:
    """The settings as a file says them: what is not a whole number is a time."""
    given = asdict(settings)
    return {
        name: format_duration(value) if isinstance(value, float) else value
        for name, value in given.items()
    }
