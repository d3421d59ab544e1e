"""The configuration in force as ``/config`` shows it: without a single secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import yaml

from exporter.config.model import Config, Server, masked_url
from exporter.config.redact import HIDDEN, Redactor


def render(config: Config) -> str:
    """The configuration as YAML. Values of ``env`` and ``headers`` are all hidden."""
    shown = {
        "mcpServers": {name: _server(server) for name, server in config.servers.items()},
        "limits": asdict(config.limits),
    }
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)


def _server(server: Server) -> dict[str, Any]:
    mask = Redactor(server)
    shown: dict[str, Any] = {"type": server.transport}
    if server.transport == "stdio":
        shown["command"] = mask(server.command or "")
        shown["args"] = [mask(argument) for argument in server.args]
        shown["env"] = _hidden(server.env)
        shown["cwd"] = server.cwd
    else:
        shown["url"] = mask(masked_url(server.url or ""))
        shown["headers"] = _hidden(server.headers)
    shown["timeout"] = f"{server.timeout:g}s"
    shown["idle_timeout"] = f"{server.idle_timeout:g}s"
    shown["probe"] = asdict(server.probe)
    return {key: value for key, value in shown.items() if value not in (None, {}, [])}


def _hidden(values: Mapping[str, str]) -> dict[str, str]:
    return dict.fromkeys(values, HIDDEN)
