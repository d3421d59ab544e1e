"""``mcp-exporter``, and ``python -m exporter``."""

import sys


def main() -> int:
    """Run a command; ``wrap`` without loading the others, for its client waits."""
    if sys.argv[1:2] == ["wrap"]:
        from exporter.wrap import process

        return process.main(sys.argv[2:])
    from exporter.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
