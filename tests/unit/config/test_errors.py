"""What the user can mend ends a command with one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.cli.flags import address
from exporter.config.document import file_error, load, read
from exporter.config.errors import ConfigError
from exporter.config.validators import parse_duration


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: load(Path("no-such-file")),
        lambda: read("{", "mcp.json", str),
        lambda: parse_duration("soon"),
        lambda: address("--web.listen-address", "here"),
    ],
)
def test_every_mistake_is_one_exception_with_one_line(mistake: Callable[[], object]) -> None:
    with pytest.raises(ConfigError) as caught:
        mistake()
    assert str(caught.value).isprintable()


def test_a_hostile_name_of_a_file_stays_on_its_line() -> None:
    assert str(file_error(Path("a\n\x1b[2Jb"), "is bad")) == "a\\n\\x1b[2Jb: is bad"
