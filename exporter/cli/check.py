"""``mcp-exporter check`` and ``probe``: what a configuration says, and what its servers reply."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from exporter.cli import access_flags
from exporter.cli.flags import Flags, complete_files
from exporter.cli.serve import fast_loop
from exporter.config.errors import ConfigError
from exporter.config.load import load_config
from exporter.config.model import Server
from exporter.config.redact import shown_endpoint
from exporter.config.source import ConfigSource
from exporter.telemetry import logs


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``check``."""
    text = "the configuration, or a directory of files with servers"
    complete_files(parser.add_argument("file", type=Path, metavar="FILE", help=text))
    flag = Flags(parser)
    flag("--config.directory", "", "the directory of servers that is read beside FILE", "DIR")
    access_flags.add(flag)
    parser.set_defaults(run=check)


def add_probe(parser: argparse.ArgumentParser) -> None:
    """Add the words of ``probe``."""
    complete_files(parser.add_argument("file", type=Path, metavar="FILE", help="the configuration"))
    parser.add_argument(
        "server", nargs="?", metavar="SERVER", help="this server alone (default: all)"
    )
    parser.set_defaults(run=probe)


def check(arguments: argparse.Namespace) -> int:
    """Say that a configuration is valid, or what of a directory is not.

    Raises ``ConfigError`` where a single file is wrong.
    """
    path, beside = arguments.file, vars(arguments)["config.directory"]
    file, directory = (None, path) if path.is_dir() else (path, Path(beside) if beside else None)
    loaded = ConfigSource(file, directory, os.environ).read()
    access_flags.read(vars(arguments)).read()
    access_flags.names(vars(arguments))
    problems = [*loaded.errors.values(), *(f"{at}: {why}" for at, why in loaded.left_out.items())]
    if problems:
        sys.stderr.writelines(f"mcp-exporter: {problem}\n" for problem in problems)
        return 2
    servers = loaded.config.servers
    count = len(servers)
    sys.stdout.write(f"{path}: {count} server{'s' if count != 1 else ''}, all valid\n")
    for server in servers.values():
        sys.stdout.write(f"  {server.name}: {server.transport}\n")
    tracing = loaded.config.tracing
    if tracing is not None:
        sys.stdout.write(f"  spans go to {shown_endpoint(tracing)}\n")
    return 0


def probe(arguments: argparse.Namespace) -> int:
    """Probe each server once; return 1 where one did not reply. Raises ``ConfigError``."""
    logs.configure("error", "text")
    loaded = load_config(arguments.file, os.environ)
    names = [arguments.server] if arguments.server is not None else list(loaded.servers)
    if names[0] not in loaded.servers:
        known = ", ".join(loaded.servers)
        raise ConfigError(f"{arguments.file}: there is no server {names[0]!r}; it has: {known}")
    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        return runner.run(_print_probes([loaded.servers[name] for name in names]))


async def _print_probes(servers: Sequence[Server]) -> int:
    from exporter.probe.explain import explain_all

    summary, code = [], 0
    async for explanation in explain_all(servers):
        result = explanation.record.result
        sys.stdout.write(f"{explanation.text}\n")
        summary.append(f"{result.value:<15} {result.seconds:8.3f} s  {explanation.server.name}")
        code = code if result.is_alive else 1
    sys.stdout.write("\n".join([*summary, ""]))
    return code
