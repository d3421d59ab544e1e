"""All dashboards as the text of their files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.build import exporter, frame, objectives, overview, servers, tools

BOARDS = (overview, servers, tools, objectives, exporter)

GRAFANA = "13.2.3"
"""The version whose options the panels are written in; from an older one it would migrate them."""
OLDEST = "11.0.0"
SOURCE = "DS_PROMETHEUS"

Json = dict[str, Any]


def documents() -> dict[str, str]:
    """The JSON of every dashboard by its uid: the same text at every run."""
    return {board["uid"]: _text(board) for board in _boards()}


def exports() -> dict[str, str]:
    """The same, as grafana.com and Grafana's page of imports want them."""
    return {board["uid"]: _text(_exported(board)) for board in _boards()}


def _boards() -> Iterator[Json]:
    for module in BOARDS:
        yield _plain(frame.built(module.board()))


def _plain(board: Dashboard) -> Json:
    plain: Json = json.loads(JSONEncoder().encode(board))
    for link in plain["links"]:
        del link["placement"]  # the SDK's default hides the link in a menu
    for panel in _panels(plain):
        panel["pluginVersion"] = GRAFANA
        if panel["type"] == "table":
            panel["options"].pop("footer", None)  # the SDK's default; Grafana 13 knows none
    return plain


def _exported(board: Json) -> Json:
    """Ask for the data source when it is imported, and say what Grafana must have."""
    found = deepcopy(board)
    for variable in found["templating"]["list"]:
        if variable["type"] == "datasource":
            variable["current"] = {"text": f"${{{SOURCE}}}", "value": f"${{{SOURCE}}}"}
    source = {"type": "datasource", "pluginId": "prometheus", "pluginName": "Prometheus"}
    asked = {"name": SOURCE, "label": "Prometheus", "description": "", **source}
    kinds = sorted({panel["type"] for panel in _panels(board)})
    needed = [
        {"type": "grafana", "id": "grafana", "name": "Grafana", "version": OLDEST},
        {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
        *({"type": "panel", "id": kind, "name": kind, "version": ""} for kind in kinds),
    ]
    return {"__inputs": [asked], "__elements": {}, "__requires": needed, "id": None, **found}


def _panels(board: Json) -> Iterator[Json]:
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def _text(board: Json) -> str:
    return json.dumps(board, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
