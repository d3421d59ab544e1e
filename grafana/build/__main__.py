"""Write the dashboards' JSON, the files that Grafana is provisioned with."""

from __future__ import annotations

from pathlib import Path

from grafana.build.output import documents

FOLDER = Path(__file__).parents[1] / "dashboards"


def main() -> None:
    """Write one file a dashboard, named by its uid."""
    FOLDER.mkdir(exist_ok=True)
    for uid, text in documents().items():
        (FOLDER / f"{uid}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
