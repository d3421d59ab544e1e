"""``mcp-exporter discover``: finds MCP servers and writes a file of them."""
