"""What MCP and JSON-RPC say: pure, the ground on which all else stands."""
