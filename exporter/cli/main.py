"""The command line: commands and flags, no logic."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from exporter import __version__
from exporter.cli import access_flags
from exporter.cli.flags import ENVIRONMENT, Flags, Parser, address, complete_files, positive
from exporter.config.errors import ConfigError
from exporter.telemetry import logs
from exporter.wrap import process as wrap
from exporter.wrap import unix_socket

if TYPE_CHECKING:
    from exporter.app import Settings
    from exporter.config.model import Config, Server

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
    "wrap": ("mcp-exporter wrap time -- uvx mcp-server-time",),
    "completion": (
        'eval "$(mcp-exporter completion bash)"',
        "mcp-exporter completion zsh > ~/.zfunc/_mcp-exporter",
        "mcp-exporter completion fish > ~/.config/fish/completions/mcp-exporter.fish",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; answers the exit code: 0 done, 1 failed, 2 asked for the impossible."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["wrap"]:
        return wrap.main(words[1:])
    try:
        arguments = parser().parse_args(words)
        code: int = arguments.run(arguments)
    except ConfigError as error:
        sys.stderr.write(f"mcp-exporter: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
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


def _add_serve(parser: argparse.ArgumentParser) -> None:
    flag = Flags(parser)
    flag(
        "--config.file",
        "mcp-exporter.yml",
        "the configuration, YAML or JSON; empty: wrapped servers alone",
        "FILE",
    )
    flag("--mcp.listen-address", "127.0.0.1:6279", "where MCP clients connect", "HOST:PORT")
    flag("--web.listen-address", "127.0.0.1:6280", "where Prometheus scrapes", "HOST:PORT")
    flag(
        "--web.external-url",
        "",
        "how clients reach the MCP listener, if not by its address; OAuth metadata names it",
        "URL",
    )
    access_flags.add(flag)
    flag.switch(
        "--mcp.allow-unauthenticated",
        "allow an --mcp.listen-address that other machines can reach without tokens or client "
        "certificates: anybody there may then call every tool",
    )
    flag(
        wrap.SOCKET_FLAG,
        unix_socket.default_path(),
        "where wrapped servers report; empty: nowhere",
        "PATH",
    )
    flag.choice("--log.level", ("debug", "info", "warning", "error"), "info")
    flag.choice("--log.format", ("text", "json"), "text")
    flag.switch("--log.calls", "log a line for each request; never arguments or results")
    parser.set_defaults(run=_serve)


def _add_check(parser: argparse.ArgumentParser) -> None:
    complete_files(parser.add_argument("file", type=Path, metavar="FILE"))
    access_flags.add(Flags(parser))
    parser.set_defaults(run=_check)


def _add_probe(parser: argparse.ArgumentParser) -> None:
    complete_files(parser.add_argument("file", type=Path, metavar="FILE"))
    parser.add_argument("server", nargs="?", metavar="SERVER", help="this one alone (default all)")
    parser.set_defaults(run=_probe)


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
    parser.set_defaults(run=_import)


def _import(arguments: argparse.Namespace) -> int:
    from exporter.cli.desktop import importer

    given = vars(arguments)
    address("--mcp.listen-address", given["mcp.listen_address"])
    wishes = importer.ImportOptions(
        path=given["path"],
        is_written=given["write"],
        is_undone=given["undo"],
        is_forced=given["force"],
        config_file=Path(given["config.file"]),
        mcp_address=given["mcp.listen_address"],
    )
    return importer.run(wishes)


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Shows each server's state and traffic, and the busiest and worst tools.\n"
        "Exit code 1 where a server is in error."
    )
    flag = Flags(parser)
    flag("--prometheus.url", "", "ask Prometheus; without it, the exporter itself", "URL")
    flag("--web.url", "http://127.0.0.1:6280", "where the exporter is scraped", "URL")
    parser.add_argument("--since", default="1h", help="the window, of Prometheus (default 1h)")
    parser.add_argument("--server", help="this one alone")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("--watch", action="store_true", help="again and again, until Ctrl-C")
    parser.set_defaults(run=_status)


def _status(arguments: argparse.Namespace) -> int:
    from exporter.cli import status as status_screen
    from exporter.config.validators import parse_duration

    given = vars(arguments)
    try:
        since = parse_duration(given["since"])
    except ConfigError as problem:
        raise ConfigError(f"--since: {problem}") from None
    if since < 1:
        raise ConfigError('--since: must be a second or more; write it like "15m"')
    wishes = status_screen.StatusOptions(
        prometheus_url=given["prometheus.url"],
        web_url=given["web.url"],
        since=since,
        server=given["server"],
        is_json=given["json"],
        is_watched=given["watch"],
    )
    return status_screen.run(wishes)


def _add_tools(parser: argparse.ArgumentParser) -> None:
    _add_target(parser)
    parser.set_defaults(run=_tools)


def _add_call(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Calls a tool through the running exporter.\n"
        "Exit code 0: it succeeded, 1: it failed, 2: nobody could be asked."
    )
    _add_target(parser)
    parser.add_argument("tool", metavar="TOOL")
    parser.add_argument("arguments", nargs="?", default="{}", metavar="JSON")
    parser.add_argument("--repeat", type=positive, default=1, help="so many calls (default 1)")
    parser.add_argument("--concurrency", type=positive, default=1, help="so many at once")
    parser.set_defaults(run=_call)


def _add_target(parser: argparse.ArgumentParser) -> None:
    flag = Flags(parser)
    flag("--mcp.url", "http://127.0.0.1:6279", "where the exporter serves clients", "URL")
    flag.file("--mcp.token-file", "the exporter's tokens, or our own one: the first is sent")
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("server", metavar="SERVER")


def _tools(arguments: argparse.Namespace) -> int:
    from exporter.cli import call as caller

    given = vars(arguments)
    wishes = caller.CallOptions(
        given["mcp.url"],
        given["server"],
        is_json=given["json"],
        token_file=given["mcp.token_file"],
    )
    return caller.tools(wishes)


def _call(arguments: argparse.Namespace) -> int:
    from exporter.cli import call as caller

    given = vars(arguments)
    wishes = caller.CallOptions(
        given["mcp.url"],
        given["server"],
        tool=given["tool"],
        arguments=given["arguments"],
        repeat=given["repeat"],
        concurrency=given["concurrency"],
        is_json=given["json"],
        token_file=given["mcp.token_file"],
    )
    return caller.call(wishes)


def _check(arguments: argparse.Namespace) -> int:
    from exporter.config import model as config

    loaded = config.load(arguments.file, os.environ)
    access_flags.read(vars(arguments)).read()
    count = len(loaded.servers)
    sys.stdout.write(f"{arguments.file}: {count} server{'s' if count != 1 else ''}, all valid\n")
    for server in loaded.servers.values():
        sys.stdout.write(f"  {server.name}: {server.transport}\n")
    return 0


def _probe(arguments: argparse.Namespace) -> int:
    from exporter.config import model as config

    logs.configure("error", "text")
    loaded = config.load(arguments.file, os.environ)
    names = [arguments.server] if arguments.server is not None else list(loaded.servers)
    if names[0] not in loaded.servers:
        known = ", ".join(loaded.servers)
        raise ConfigError(f"{arguments.file}: there is no server {names[0]!r}; it has: {known}")
    with asyncio.Runner(loop_factory=_fast_loop()) as runner:
        return runner.run(_print_probes([loaded.servers[name] for name in names]))


async def _print_probes(servers: Sequence[Server]) -> int:
    from exporter.probe.explain import explain_all

    summary, code = [], 0
    async for explanation in explain_all(servers):
        finding = explanation.record.finding
        sys.stdout.write(f"{explanation.text}\n")
        summary.append(f"{finding.result:<15} {finding.seconds:8.3f} s  {explanation.server.name}")
        code = code if finding.is_alive else 1
    sys.stdout.write("\n".join([*summary, ""]))
    return code


def _serve(arguments: argparse.Namespace) -> int:
    from exporter.app import Settings, is_loopback
    from exporter.config import model as config

    given = vars(arguments)
    logs.configure(given["log.level"], given["log.format"])
    mcp = address("--mcp.listen-address", given["mcp.listen_address"])
    web = address("--web.listen-address", given["web.listen_address"])
    access = access_flags.read(given)
    is_guarded = access.guards_mcp or given["mcp.allow_unauthenticated"]
    access_flags.check(mcp[0], is_loopback=is_loopback(mcp[0]), is_guarded=is_guarded)
    path = Path(given["config.file"])
    settings = Settings(
        path,
        *mcp,
        *web,
        external_url=given["web.external_url"] or None,
        wrap_socket=given["wrap.socket"],
        access=access,
        logs_calls=given["log.calls"],
    )
    loaded = config.load(path, os.environ) if given["config.file"] else config.Config(servers={})
    with asyncio.Runner(loop_factory=_fast_loop()) as runner:
        runner.run(_run(loaded, settings))
    return 0


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on Windows, nor on PyPy: asyncio's own loop does
        return None
    # Names are looked up on threads; with four of them, as many dead name servers hold up all.
    os.environ.setdefault("UV_THREADPOOL_SIZE", "32")
    return uvloop.new_event_loop


async def _run(loaded: Config, settings: Settings) -> None:
    from exporter.app import App

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    app = App(loaded, settings, os.environ.get(ENVIRONMENT + "REVISION", ""))
    handlers = {"SIGINT": stopped.set, "SIGTERM": stopped.set, "SIGHUP": app.hang_up}
    for name, handler in handlers.items():
        # Windows has none of this: there Ctrl-C cancels this task.
        with contextlib.suppress(AttributeError, NotImplementedError):
            loop.add_signal_handler(getattr(signal, name), handler)
    try:
        await app.start()
        await stopped.wait()
    finally:
        await app.stop()


def _add_wrap(parser: argparse.ArgumentParser) -> None:
    """For ``--help`` and shells; ``wrap`` reads its own words, before this parser is made."""
    flag = Flags(parser)
    flag(wrap.SOCKET_FLAG, unix_socket.default_path(), "where the exporter listens", "PATH")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the label of its metrics")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="after --")


def _add_completion(parser: argparse.ArgumentParser) -> None:
    parser.description = "Prints what a shell needs to complete this program's words."
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(run=_complete)


def _complete(arguments: argparse.Namespace) -> int:
    import shtab

    sys.stdout.write(shtab.complete(parser(), arguments.shell))
    return 0


_COMMANDS: Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "serve": ("relay, measure, and serve /metrics", _add_serve),
    "check": ("validate a configuration and do nothing else", _add_check),
    "probe": ("probe servers once and say what was said", _add_probe),
    "import": ("put a desktop client's servers behind us", _add_import),
    "status": ("show servers and tools in the terminal", _add_status),
    "tools": ("list a server's tools, through the exporter", _add_tools),
    "call": ("call a tool through the exporter, once or often", _add_call),
    "wrap": ("run a stdio server for a client, and observe it", _add_wrap),
    "completion": ("print a shell's completion", _add_completion),
}


if __name__ == "__main__":
    sys.exit(main())
