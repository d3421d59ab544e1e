"""Write the dashboards' JSON: the files that Grafana is provisioned with, and those to import."""

from __future__ import annotations

from pathlib import Path

from grafana.build.output import documents, exports

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Write one file a dashboard into each folder, named by its uid."""
    for folder, texts in ((ROOT / "dashboards", documents()), (ROOT / "export", exports())):
        folder.mkdir(exist_ok=True)
        for uid, text in texts.items():
            (folder / f"{uid}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
