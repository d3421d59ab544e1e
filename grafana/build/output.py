"""All dashboards as the text of their files."""

from __future__ import annotations

import json

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.build import exporter, frame, objectives, overview, servers, tools

BOARDS = (overview, servers, tools, objectives, exporter)


def documents() -> dict[str, str]:
    """The JSON of every dashboard by its uid: the same text at every run."""
    built = [frame.built(module.board()) for module in BOARDS]
    return {str(board.uid): _text(board) for board in built}


def _text(board: Dashboard) -> str:
    plain = json.loads(JSONEncoder().encode(board))
    for link in plain["links"]:
        del link["placement"]  # the SDK's default hides the link in a menu
    return json.dumps(plain, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
