"""``python -m prometheus.build``: write rules and runbook page; ``--check`` only compares."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from prometheus.build import alerts, objectives, recording
from prometheus.build.rules import Group, render
from prometheus.build.runbook import page
from prometheus.build.settings import Settings, SettingsError, load

HERE = Path(__file__).parent.parent


def groups(settings: Settings) -> dict[str, list[Group]]:
    """The rules of every file."""
    return {
        "traffic.rules.yml": recording.groups(),
        "objectives.rules.yml": objectives.groups(settings),
        "objectives.alerts.yml": objectives.alerts(settings),
        **{name: [group] for name, group in alerts.FILES.items()},
    }


def generate(settings: Settings) -> dict[str, str]:
    """The text of every generated file, by its path in ``prometheus/``."""
    rules = {f"rules/{name}": render(found, settings) for name, found in groups(settings).items()}
    return rules | {"consoles/runbook.html": page((HERE / "runbook.md").read_text("utf-8"))}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 where ``--check`` finds a difference; 2 for bad settings."""
    options = _parser().parse_args(arguments)
    try:
        texts = generate(load(options.settings))
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    stale = [name for name, text in texts.items() if _differs(options.output / name, text)]
    if not options.check:
        for name in stale:
            _write(options.output / name, texts[name])
        return 0
    for name in stale:
        print(f"{options.output / name} differs: run python -m prometheus.build", file=sys.stderr)  # noqa: T201
    return 1 if stale else 0


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _differs(path: Path, text: str) -> bool:
    return not path.exists() or path.read_text(encoding="utf-8") != text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m prometheus.build", description=__doc__)
    parser.add_argument("--settings", type=Path, default=HERE / "objectives.yml")
    parser.add_argument("--output", type=Path, default=HERE)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
