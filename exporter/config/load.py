"""Reads a YAML, TOML or JSON file into the configuration.

Any MCP client's own file is valid as it is; docs/configuration.md is the grammar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from exporter.config import client_keys, document, validators
from exporter.config.client_keys import Transport
from exporter.config.document import Node, quoted
from exporter.config.errors import ConfigError
from exporter.config.limits import DEFAULT_TIMEOUT, Timeout
from exporter.config.model import Config, Limits, ProbeSettings, Server, Values
from exporter.config.tracing import tracing
from exporter.config.upstream_tls import UpstreamTls
from exporter.config.variables import Variables, variables_of

_SERVER_KEYS = (
    "command",
    "args",
    "env",
    "envFile",
    "cwd",
    "url",
    "headers",
    "type",
    "proxy",
    "tls",
    "propagate",
)
_STDIO_KEYS = ("args", "cwd", "envFile")
_OWN_KEYS = ("probe", "timeout", "idle_timeout")


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Read and validate the file. Raises ConfigError, always one line."""
    return parse_config(document.load(path), str(path), environ, document.load)


def parse_config(
    text: str,
    source: str,
    environ: Mapping[str, str],
    read_file: Callable[[Path], str] | None = None,
    *,
    needs_servers: bool = True,
) -> Config:
    """The configuration that `text` says. `source` names the file in complaints and is where
    relative paths start; `read_file` serves `envFile` and `${file:…}`; without `needs_servers` it
    may have none, for others come from a directory. Raises ConfigError."""
    variables = variables_of(Path(source).absolute(), environ, read_file or _no_file)
    root = document.read(text, source, variables.expand)
    top = root.mapping()
    if Path(source).name not in client_keys.FILES_OF_MORE and client_keys.CODEX not in top:
        validators.reject_unknown(
            top,
            ("mcpServers", "servers", "limits", "tracing", *_OWN_KEYS),
            client_keys.FILE_KEYS | client_keys.LISTING_KEYS,
        )
    defaults = Server(
        name="",
        transport="stdio",
        timeout=validators.optional(top, "timeout", _timeout, DEFAULT_TIMEOUT),
        idle_timeout=validators.optional(top, "idle_timeout", validators.duration, 1800.0),
        probe=_probe(top.get("probe"), ProbeSettings()),
    )
    limits = _limits(top.get("limits"))
    listed = _listed(top)
    if needs_servers:
        servers = _some_servers(root, listed, defaults, variables)
    else:
        servers = _any_servers(listed, defaults, variables) if listed is not None else {}
    if len(servers) > limits.servers:
        raise (listed or root).error(
            f"{len(servers)} servers are more than limits.servers ({limits.servers}); "
            "raise that, or remove some"
        )
    return Config(
        MappingProxyType(servers), limits, defaults, tracing(top.get("tracing"), variables)
    )


def parse_servers(
    text: str,
    source: str,
    environ: Mapping[str, str],
    read_file: Callable[[Path], str],
    defaults: Server,
) -> Mapping[str, Server]:
    """The servers of a file that has nothing else, perhaps none. Raises ConfigError."""
    variables = variables_of(Path(source).absolute(), environ, read_file)
    root = document.read(text, source, variables.expand)
    top = root.mapping()
    for key in ("limits", "tracing", *_OWN_KEYS):
        if key in top:
            raise top[key].error("only servers are read here; write it into --config.file")
    ignored = client_keys.FILE_KEYS | client_keys.LISTING_KEYS
    validators.reject_unknown(top, ("mcpServers", "servers"), ignored)
    listed = _listed(top)
    if listed is None:
        raise _not_listed(root)
    return _any_servers(listed, defaults, variables)


def _listed(top: Mapping[str, Node]) -> Node | None:
    if "mcpServers" in top and "servers" in top:
        raise top["servers"].error('"mcpServers" is there too; keep one of the two')
    places = ("mcpServers", "servers", "mcp.servers", "mcp", client_keys.CODEX)
    return validators.only_one(_listings(top), places)


def _not_listed(root: Node) -> ConfigError:
    return root.error('no servers; add a "servers" mapping of names to servers')


def _some_servers(
    root: Node, listed: Node | None, defaults: Server, variables: Variables
) -> dict[str, Server]:
    if listed is None:
        raise _not_listed(root)
    servers = _servers(listed, defaults, variables)
    if not servers:
        is_empty = listed.kind == "null" or not listed.mapping()
        problem = "no servers; add" if is_empty else "every server is disabled; enable"
        raise listed.error(f"{problem} at least one")
    return servers


def _any_servers(listed: Node, defaults: Server, variables: Variables) -> dict[str, Server]:
    if listed.kind == "null":  # perhaps the beginning of a file that is cut off
        raise listed.error("no servers; add at least one, or write {} for none")
    return _servers(listed, defaults, variables)


def _servers(listed: Node, defaults: Server, variables: Variables) -> dict[str, Server]:
    entries = {} if listed.kind == "null" else listed.mapping()
    return {
        name: _server(name, node, defaults, variables)
        for name, node in entries.items()
        if not _switched_off(validators.present(node))
    }


def _listings(top: Mapping[str, Node]) -> dict[str, Node]:
    """Where servers may be listed: VS Code's settings have them in ``mcp``."""
    found = dict(top)
    settings = found.pop("mcp", None)
    if settings is not None and settings.kind == "a mapping":
        listed = settings.mapping().get("servers")
        found |= {"mcp": listed} if listed is not None else {}
    return found


def _flattened(given: Mapping[str, Node]) -> dict[str, Node]:
    """A server's settings where clients nest them: in ``transport``, and headers in
    ``requestInit`` or, as Codex does, in ``http_headers``."""
    flat = dict(given)
    inner = flat.get("transport")
    if inner is not None and inner.kind == "a mapping":
        del flat["transport"]
        _add(flat, validators.present(inner))
    asked = flat.pop("requestInit", None)
    if asked is not None:
        _add(flat, {key: node for key, node in asked.mapping().items() if key == "headers"})
    headers = flat.pop("http_headers", None)
    if headers is not None:
        _add(flat, {"headers": headers})
    return flat


def _add(flat: dict[str, Node], inner: Mapping[str, Node]) -> None:
    for key, node in inner.items():
        if key in flat:
            raise node.error(f"written twice, first on line {flat[key].line}; keep one")
        flat[key] = node


def _server(name: str, node: Node, defaults: Server, variables: Variables) -> Server:
    validators.check_name(name, node)
    own = replace(variables, secrets=set())
    given = _flattened(validators.present(replace(node, expand=own.expand)))
    validators.reject_unknown(
        given, (*_SERVER_KEYS, *_OWN_KEYS), client_keys.ALIASES | client_keys.SERVER_KEYS
    )
    common = replace(
        defaults,
        name=name,
        timeout=validators.optional(given, "timeout", _server_timeout, defaults.timeout),
        idle_timeout=validators.optional(
            given, "idle_timeout", validators.duration, defaults.idle_timeout
        ),
        probe=_probe(given.get("probe"), defaults.probe),
        propagate=validators.optional(given, "propagate", validators.boolean, None),
    )
    address = validators.only_one(given, client_keys.URL_KEYS)
    if address is not None and "command" in given:
        raise node.error(
            f'has both "command" and {quoted(validators.last(address))}; keep one of the two'
        )
    if address is None and "command" not in given:
        raise node.error('has neither "command" nor "url"; add one of the two')
    read = (
        _stdio_server(given, common, own)
        if address is None
        else _http_server(given, address, common, own)
    )
    return replace(read, secrets=frozenset(own.secrets))


def _stdio_server(given: Mapping[str, Node], common: Server, variables: Variables) -> Server:
    _check_transport(given, stdio=True)
    validators.reject_filled(
        given, ("headers", "proxy", "tls"), 'has no effect beside "command"; remove it'
    )
    cwd = validators.optional(given, "cwd", validators.filled, "")
    args = given["args"].items() if "args" in given else []
    return replace(
        common,
        command=validators.filled(given["command"]),
        args=tuple(argument.text() for argument in args),
        masked_args=tuple(variables.masked(argument.raw.value) for argument in args),
        env=Values(_environment(given, variables)),
        cwd=str(variables.workspace / cwd) if cwd else None,
    )


def _http_server(
    given: Mapping[str, Node], address: Node, common: Server, variables: Variables
) -> Server:
    transport = _check_transport(given, stdio=False)
    validators.reject_filled(
        given, _STDIO_KEYS, f"has no effect beside {quoted(validators.last(address))}; remove it"
    )
    headers = given["headers"].mapping() if "headers" in given else {}
    return replace(
        common,
        transport=transport,
        url=validators.url(address),
        headers=Values(validators.headers(headers)),
        proxy=validators.proxy(given["proxy"]) if "proxy" in given else None,
        tls=_tls(given["tls"], variables) if "tls" in given else None,
    )


def _tls(node: Node, variables: Variables) -> UpstreamTls:
    given = validators.present(node)
    validators.reject_unknown(given, ("ca_file", "cert_file", "key_file", "server_name"), ())
    if ("cert_file" in given) is not ("key_file" in given):
        raise node.error('has one of "cert_file" and "key_file"; give both')
    ca, cert, key = (
        variables.workspace / validators.filled(given[name]) if name in given else None
        for name in ("ca_file", "cert_file", "key_file")
    )
    name = validators.filled(given["server_name"]) if "server_name" in given else None
    try:
        return UpstreamTls(ca, cert, key, name).read()
    except ConfigError as problem:
        raise node.error(str(problem)) from None


def _environment(given: Mapping[str, Node], variables: Variables) -> dict[str, str]:
    values = {}
    if "envFile" in given:
        path = validators.filled(given["envFile"])
        try:
            values = variables.read_env_file(path)
        except ConfigError as problem:
            raise given["envFile"].error(str(problem)) from None
    for name, node in (given["env"].mapping() if "env" in given else {}).items():
        if not name or "=" in name or not name.isprintable():
            raise node.error('cannot name a variable; use letters, digits and "_"')
        if node.kind == "null":
            values.pop(name, None)  # VS Code: the variable is not set
        else:
            # A number is taken as it was written: VS Code's files have them.
            values[name] = node.scalar() if node.kind == "a number" else node.text()
    return values


def _check_transport(given: Mapping[str, Node], *, stdio: bool) -> Transport:
    node = validators.only_one(given, client_keys.TRANSPORT_KEYS)
    if node is None:
        return "stdio" if stdio else "http"
    transport = client_keys.TRANSPORTS.get(node.text().lower())
    if transport is None:
        raise node.error(
            f'{quoted(node.text())} is not a transport; write "stdio", "http" or "sse"'
        )
    if (transport == "stdio") != stdio:
        wrong, key = ("stdio", "command") if transport == "stdio" else (transport, "url")
        raise node.error(f'{quoted(wrong)} needs "{key}"; change the one or the other')
    return transport


def _probe(node: Node | None, default: ProbeSettings) -> ProbeSettings:
    settings = replace(default, **_settings(node, _PROBE_READERS))
    if node is not None and settings.timeout >= settings.interval:
        raise node.error(
            f"the timeout ({validators.format_duration(settings.timeout)}) must be below the "
            f"interval ({validators.format_duration(settings.interval)}); change one of them"
        )
    return settings


def _timeout(node: Node, plain: Callable[[Node], float] = validators.duration) -> Timeout:
    """One duration, or ``{idle: …, total: …}``: then progress keeps a request alive."""
    if node.kind != "a mapping":
        return Timeout(plain(node))
    given = validators.present(node)
    validators.reject_unknown(given, ("idle", "total"), ())
    for key in ("idle", "total"):
        if key not in given:
            raise node.error(f'"{key}" is missing; write it like "{{idle: 60s, total: 30m}}"')
    idle, total = validators.positive_duration(given["idle"]), validators.duration(given["total"])
    if 0 < total <= idle:
        raise node.error(
            f"the total ({validators.format_duration(total)}) must be above idle "
            f"({validators.format_duration(idle)}); change one of them (total: 0 for no end)"
        )
    return Timeout(idle, total)


def _server_timeout(node: Node) -> Timeout:
    return _timeout(node, validators.request_timeout)


def _limits(node: Node | None) -> Limits:
    return replace(Limits(), **_settings(node, _LIMIT_READERS))


def _settings(node: Node | None, readers: Mapping[str, Callable[[Node], Any]]) -> dict[str, Any]:
    given = {} if node is None or node.kind == "null" else validators.present(node)
    validators.reject_unknown(given, readers, ())
    return {key: read(given[key]) for key, read in readers.items() if key in given}


_PROBE_READERS: Mapping[str, Callable[[Node], Any]] = {
    "enabled": validators.boolean,
    "interval": validators.positive_duration,
    "timeout": validators.positive_duration,
    "list_interval": validators.positive_duration,
    "passive": validators.boolean,
}
_LIMIT_READERS: Mapping[str, Callable[[Node], Any]] = {
    "servers": validators.count,
    "request_bytes": validators.size_in_bytes,
    "observed_bytes": validators.size_in_bytes,
    "header_bytes": validators.size_in_bytes,
    "connections": validators.count,
    "requests_per_server": validators.count,
    "requests_total": validators.count,
    "streams_per_server": validators.count,
    "streams_total": validators.count,
    "sessions_per_server": validators.count,
    "children_per_server": validators.count,
    "read_timeout": validators.positive_duration,
    "write_timeout": validators.positive_duration,
    "keep_alive": validators.positive_duration,
    "tools_per_server": validators.count,
    "tools_total": validators.count,
    "clients": validators.count,
}


def _switched_off(given: Mapping[str, Node]) -> bool:
    return any(
        key in given and validators.boolean(given[key]) is off
        for key, off in client_keys.SWITCHES.items()
    )


def _no_file(path: Path) -> str:
    raise document.file_error(path, "no files can be read here; write the values out")
