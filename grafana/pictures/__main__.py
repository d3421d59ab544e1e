"""Draw all dashboards: ``python -m grafana.pictures --since 15 docs/pictures``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import requests

from grafana.asking import Prometheus, Window
from grafana.pictures.canvas import Page
from grafana.pictures.shapes import draw

DASHBOARDS = Path(__file__).resolve().parents[1] / "dashboards"


def main() -> int:
    """Write one PNG a dashboard, named by its uid; 1 where Prometheus does not answer."""
    options = _options()
    end = time.time()
    window = Window(end - options.since * 60, end, options.scrape_interval)
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        draw_all(options.folder, Prometheus(options.prometheus), window)
    except requests.RequestException as error:
        sys.stderr.write(f"{options.prometheus} does not answer: {error}\n")
        return 1
    return 0


def draw_all(folder: Path, prometheus: Prometheus, window: Window) -> None:
    """Write one PNG a dashboard; raises requests.RequestException where a query fails."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        _page(json.loads(path.read_text()), prometheus, window).save(folder / f"{path.stem}.png")


def _page(board: dict[str, Any], prometheus: Prometheus, window: Window) -> Page:
    page = Page(board)
    for panel in board["panels"]:
        if panel["type"] == "row":
            page.heading(panel)
        else:
            draw(page, panel, prometheus, window)
    return page


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m grafana.pictures", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--since", type=float, default=15, metavar="MINUTES", help="time range")
    parser.add_argument("--scrape-interval", type=float, default=15, metavar="SECONDS")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
