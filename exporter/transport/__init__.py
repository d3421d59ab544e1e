"""Bytes in and out, without a word of MCP."""
