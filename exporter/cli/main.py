"""The command line: commands and flags, no logic."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from exporter import __version__
from exporter.cli import check, serve
from exporter.cli.discover import command as discover
from exporter.cli.flags import ENVIRONMENT, Flags, Parser, address, complete_files, positive
from exporter.config.errors import ConfigError
from exporter.wrap import unix_socket
from exporter.wrap.process import SOCKET_FLAG

SHELLS = ("bash", "zsh", "fish")

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "serve": (
        "mcp-exporter serve --config.file mcp-exporter.yml",
        "mcp-exporter serve --config.file ~/.cursor/mcp.json --log.format json",
        'mcp-exporter serve --config.file ""',
    ),
    "check": ("mcp-exporter check mcp-exporter.yml",),
    "probe": ("mcp-exporter probe mcp-exporter.yml", "mcp-exporter probe mcp-exporter.yml files"),
    "import": (
        "mcp-exporter import",
        "mcp-exporter import --write",
        "mcp-exporter import ~/.cursor/mcp.json --undo",
    ),
    "status": (
        "mcp-exporter status --watch",
        "mcp-exporter status --since 15m --prometheus.url http://127.0.0.1:9090",
        "mcp-exporter status --server files --json",
    ),
    "tools": ("mcp-exporter tools files", "mcp-exporter tools files --json"),
    "call": (
        """mcp-exporter call files read_file '{"path": "a.txt"}'""",
        """mcp-exporter call files read_file '{"path": "a.txt"}' --repeat 1000 --concurrency 8""",
    ),
    "discover": (
        "mcp-exporter discover kubernetes --kubernetes.namespaces team-a --output servers.d/k.yml",
    ),
    "wrap": ("mcp-exporter wrap time -- uvx mcp-server-time",),
    "completion": (
        'eval "$(mcp-exporter completion bash)"',
        "mcp-exporter completion zsh > ~/.zfunc/_mcp-exporter",
        "mcp-exporter completion fish > ~/.config/fish/completions/mcp-exporter.fish",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command but ``wrap``; return the exit code: 0 done, 1 failed, 2 not possible."""
    words = sys.argv[1:] if argv is None else argv
    try:
        code = _run(parser().parse_args(words))
    except ConfigError as error:
        sys.stderr.write(f"mcp-exporter: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of the output has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run(arguments: argparse.Namespace) -> int:
    """Run the command. Raises ``ConfigError``, also for a package that an extra would bring."""
    extra = getattr(arguments, "extra", None)
    try:
        code: int = arguments.run(arguments)
    except ModuleNotFoundError as lacking:
        if extra is None:
            raise
        raise ConfigError(
            f"this command needs the package {lacking.name}, which is not installed; "
            f"run: pip install 'mcp-exporter[{extra}]'"
        ) from None
    return code


def parser() -> argparse.ArgumentParser:
    """What reads the words of every command but ``wrap``."""
    parser = Parser(
        prog="mcp-exporter",
        description="Relays Model Context Protocol traffic and measures every call.",
        epilog=f"Every flag is also an environment variable: {ENVIRONMENT}CONFIG_FILE for "
        "--config.file, and so on. The flag wins.",
    )
    parser.add_argument("--version", action="version", version=f"mcp-exporter {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (text, add) in _COMMANDS.items():
        lines = (f"  {example}" for example in EXAMPLES[name])
        command = commands.add_parser(
            name,
            help=text,
            epilog="\n".join(("examples:", *lines)),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add(command)
    return parser


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Shows the servers in the files of Claude Desktop, Claude Code, Cursor, VS Code and\n"
        "Windsurf, and what would become of them."
    )
    path = parser.add_argument("path", nargs="?", type=Path, metavar="PATH", help="this file alone")
    complete_files(path)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help="rewrite them, after a backup")
    what.add_argument("--undo", action="store_true", help="bring them back as they were")
    parser.add_argument("--force", action="store_true", help="undo even what changed since")
    flag = Flags(parser)
    flag("--config.file", "mcp-exporter.yml", "what the exporter serves", "FILE")
    flag("--mcp.listen-address", "127.0.0.1:6279", "where the exporter serves it", "HOST:PORT")
    flag("--web.external-url", "", "how clients reach it, if not by that address", "URL")
    parser.set_defaults(run=_import)


def _import(arguments: argparse.Namespace) -> int:
    from exporter.cli.desktop import importer

    given = vars(arguments)
    listening = address("--mcp.listen-address", given["mcp.listen_address"])
    options = importer.ImportOptions(
        path=given["path"],
        is_written=given["write"],
        is_undone=given["undo"],
        is_forced=given["force"],
        config_file=Path(given["config.file"]),
        base_url=given["web.external_url"] or importer.url_of(*listening),
    )
    return importer.run(options)


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Shows each server's state and traffic, and the busiest and worst tools.\n"
        "Exit code 1 where a server is in error."
    )
    flag = Flags(parser)
    flag("--prometheus.url", "", "ask Prometheus; without it, the exporter itself", "URL")
    flag("--web.url", "http://127.0.0.1:6280", "where the exporter is scraped", "URL")
    parser.add_argument(
        "--since", default="1h", metavar="DURATION", help="of what Prometheus has (default: 1h)"
    )
    parser.add_argument("--server", metavar="NAME", help="this server alone")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("--watch", action="store_true", help="again and again, until Ctrl-C")
    parser.set_defaults(run=_status)


def _status(arguments: argparse.Namespace) -> int:
    from exporter.cli import status
    from exporter.config.validators import parse_duration

    given = vars(arguments)
    try:
        since = parse_duration(given["since"])
    except ConfigError as problem:
        raise ConfigError(f"--since: {problem}") from None
    if since < 1:
        raise ConfigError('--since: must be a second or more; write it like "15m"')
    options = status.StatusOptions(
        prometheus_url=given["prometheus.url"],
        web_url=given["web.url"],
        since=since,
        server=given["server"],
        is_json=given["json"],
        is_watched=given["watch"],
    )
    return status.run(options)


def _add_tools(parser: argparse.ArgumentParser) -> None:
    _add_target(parser)
    parser.set_defaults(run=_tools, extra="client")


def _add_call(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Calls a tool through the running exporter.\n"
        "Exit code 0: it succeeded, 1: it failed, 2: there was no reply."
    )
    _add_target(parser)
    parser.add_argument("tool", metavar="TOOL", help="as tools lists it")
    parser.add_argument(
        "arguments", nargs="?", default="{}", metavar="JSON", help="its arguments (default: {})"
    )
    parser.add_argument(
        "--repeat", type=positive, default=1, metavar="CALLS", help="how many (default: 1)"
    )
    parser.add_argument(
        "--concurrency", type=positive, default=1, metavar="CALLS", help="at once (default: 1)"
    )
    parser.set_defaults(run=_call, extra="client")


def _add_target(parser: argparse.ArgumentParser) -> None:
    flag = Flags(parser)
    flag("--mcp.url", "http://127.0.0.1:6279", "where the exporter serves clients", "URL")
    flag.file("--mcp.token-file", "the exporter's tokens, or our own one: the first is sent")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("server", metavar="SERVER", help="its name in the configuration")


def _tools(arguments: argparse.Namespace) -> int:
    from exporter.cli import call

    given = vars(arguments)
    options = call.CallOptions(
        given["mcp.url"],
        given["server"],
        is_json=given["json"],
        token_file=given["mcp.token_file"],
    )
    return call.tools(options)


def _call(arguments: argparse.Namespace) -> int:
    from exporter.cli import call

    given = vars(arguments)
    options = call.CallOptions(
        given["mcp.url"],
        given["server"],
        tool=given["tool"],
        arguments=given["arguments"],
        repeat=given["repeat"],
        concurrency=given["concurrency"],
        is_json=given["json"],
        token_file=given["mcp.token_file"],
    )
    return call.call(options)


def _add_wrap(parser: argparse.ArgumentParser) -> None:
    """For ``--help`` and shells; ``wrap`` reads its own words, before this parser is made."""
    flag = Flags(parser)
    flag(SOCKET_FLAG, unix_socket.default_path(), "where the exporter listens", "PATH")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the label of its metrics")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="after --")


def _add_completion(parser: argparse.ArgumentParser) -> None:
    parser.description = "Prints what a shell needs to complete this program's words."
    parser.add_argument("shell", choices=SHELLS, help="which one")
    parser.set_defaults(run=_complete)


def _complete(arguments: argparse.Namespace) -> int:
    import shtab

    sys.stdout.write(shtab.complete(parser(), arguments.shell))
    return 0


_COMMANDS: Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "serve": ("relay, measure, and serve /metrics", serve.add),
    "check": ("validate a configuration and do nothing else", check.add_check),
    "probe": ("probe servers once and say what was said", check.add_probe),
    "import": ("put a desktop client's servers behind us", _add_import),
    "status": ("show servers and tools in the terminal", _add_status),
    "tools": ("list a server's tools, through the exporter", _add_tools),
    "call": ("call a tool through the exporter, once or often", _add_call),
    "wrap": ("run a stdio server for a client, and observe it", _add_wrap),
    "discover": ("keep a file of the MCP servers of a Kubernetes cluster", discover.add),
    "completion": ("print a shell's completion", _add_completion),
}
