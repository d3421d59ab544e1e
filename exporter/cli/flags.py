"""Flags whose default comes from the environment, and what they hold."""

from __future__ import annotations

import argparse
import os
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from exporter.config.errors import ConfigError
from exporter.config.validators import parse_duration

ENVIRONMENT = "MCP_EXPORTER_"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"mcp-exporter: {message}; see: {self.prog} --help\n")


class Flags:
    """Adds flags to a parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser

    def __call__(self, flag: str, default: str, text: str, metavar: str) -> None:
        """A flag with a text for its value."""
        value = os.environ.get(_variable(flag), default)
        text = f"{text} (default: {default})" if default else text
        action = self._parser.add_argument(flag, default=value, help=text, metavar=metavar)
        if metavar in ("FILE", "PATH"):
            complete_files(action)

    def file(self, flag: str, text: str) -> None:
        """A flag with a path for its value; without one it is ``None``."""
        value = os.environ.get(_variable(flag), "")
        action = self._parser.add_argument(
            flag, default=value, type=_path_or_none, help=text, metavar="FILE"
        )
        complete_files(action)

    def choice(self, flag: str, choices: tuple[str, ...], default: str, text: str) -> None:
        """A flag with a closed set of values."""
        given = os.environ.get(_variable(flag), default)

        def one(text: str) -> str:
            if text == given and text not in choices:  # else argparse says so itself
                known = ", ".join(choices)
                raise ConfigError(f"{_variable(flag)}: {text!r} is not one of {known}")
            return text

        text = f"{text} (default: {default})"
        self._parser.add_argument(flag, default=given, type=one, choices=choices, help=text)

    def switch(self, flag: str, text: str) -> None:
        """A flag that is on where it is given."""
        given = os.environ.get(_variable(flag), "")

        def truth(text: str) -> bool:
            if text.lower() not in _TRUE | _FALSE:
                raise ConfigError(f"{_variable(flag)}: {text!r} is neither true nor false")
            return text.lower() in _TRUE

        self._parser.add_argument(flag, action=_Switch, default=given, type=truth, help=text)


class _Switch(argparse.Action):
    """``store_true`` with a text as its default, which only the command that has it reads."""

    def __init__(self, **given: Any) -> None:
        super().__init__(nargs=0, **given)

    def __call__(self, _: object, namespace: argparse.Namespace, *__: object) -> None:
        """The flag is given."""
        setattr(namespace, self.dest, True)


def complete_files(action: argparse.Action) -> None:
    """Have shells complete this argument with the names of files."""
    action.complete = "file"  # type: ignore[attr-defined]  # shtab reads it


def address(flag: str, text: str) -> tuple[str, int]:
    """Host and port. Raises ``ConfigError``."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigError(f"{flag}: {text!r} is not HOST:PORT, such as 127.0.0.1:6279")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104  what an empty host means


def is_local(url: str) -> bool:
    """Whether it is on this machine's loopback, where no proxy belongs in between."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def seconds(flag: str, text: str) -> float:
    """A duration such as ``5s``. Raises ``ConfigError``."""
    try:
        return parse_duration(text)
    except ConfigError as problem:
        raise ConfigError(f"{flag}: {problem}") from None


def positive(text: str) -> int:
    """A whole number from 1. Raises argparse's error."""
    if not (text.isascii() and text.isdigit()) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _path_or_none(text: str) -> Path | None:
    return Path(text) if text else None


def _variable(flag: str) -> str:
    return ENVIRONMENT + flag.lstrip("-").replace(".", "_").replace("-", "_").upper()
