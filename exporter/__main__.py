"""``mcp-exporter``, and ``python -m exporter``."""

import sys


def main() -> int:
    """Run a command; ``wrap`` without loading the others, for its client waits."""
    if sys.argv[1:2] == ["wrap"]:
        from exporter.wrap import process as wrap

        return wrap.main(sys.argv[2:])
    from exporter.cli import main as cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
