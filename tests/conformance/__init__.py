"""The official MCP conformance suite, run directly and through the exporter."""
