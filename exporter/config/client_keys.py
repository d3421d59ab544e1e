"""What MCP clients write in their own files: other names for the same, and keys of theirs alone."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Literal

Transport = Literal["stdio", "http", "sse"]

FILE_KEYS_BY_CLIENT: Mapping[str, tuple[str, ...]] = {
    "VS Code": ("$schema", "inputs"),
    "Claude Desktop": (
        "coworkUserFilesPath",
        "globalShortcut",
        "isDxtAutoUpdatesEnabled",
        "isUsingBuiltInNodeForMcp",
        "locale",
        "preferences",
        "scale",
        "telemetry",
        "theme",
    ),
}
"""Top-level keys that are accepted and have no effect here."""

SERVER_KEYS_BY_CLIENT: Mapping[str, tuple[str, ...]] = {
    "Many": ("description", "displayName", "icon", "iconUrl", "name", "tags", "title", "version"),
    "Claude Code": ("alwaysLoad", "headersHelper", "oauth"),
    "Cursor": ("auth",),
    "VS Code": ("dev", "gallery", "sandbox", "sandboxEnabled"),
    "Cline": ("autoApprove", "networkTimeout", "remoteConfigured"),
    "Roo Code": ("alwaysAllow", "disabledTools", "watchPaths"),
    "Amazon Q, Kiro": ("oauthScopes",),
    "Gemini CLI": (
        "authProviderType",
        "excludeTools",
        "includeTools",
        "targetAudience",
        "targetServiceAccount",
        "trust",
    ),
    "Copilot CLI": ("tools",),
    "Codex": (
        "bearer_token_env_var",
        "default_tools_approval_mode",
        "disabled_tools",
        "enabled_tools",
        "env_http_headers",
        "env_vars",
        "oauth_resource",
        "required",
        "scopes",
        "startup_timeout_ms",
        "startup_timeout_sec",
        "supports_parallel_tool_calls",
        "tool_timeout_sec",
    ),
    "Trae": ("fromGalleryId",),
}
"""Keys inside a server that are accepted and have no effect here."""

FILE_KEYS = frozenset(chain.from_iterable(FILE_KEYS_BY_CLIENT.values()))
SERVER_KEYS = frozenset(chain.from_iterable(SERVER_KEYS_BY_CLIENT.values()))

SWITCHES: Mapping[str, bool] = {"disabled": True, "enabled": False, "isActive": False}
"""Keys by which clients switch a server off, and the value that does so."""

LISTING_KEYS = frozenset({"mcp", "mcp.servers"})
"""Keys of VS Code's settings in which servers are, beside ``servers`` and ``mcpServers``."""

FILES_OF_MORE = frozenset({".claude.json", "settings.json"})
"""Files of clients that hold much besides servers: every other key at their top is left to them."""

CODEX = "mcp_servers"
"""Where Codex lists servers; a file that has this key is one of those, whatever its name."""

URL_KEYS = ("url", "serverUrl", "httpUrl")
TRANSPORT_KEYS = ("type", "transport", "transportType")
TRANSPORTS: Mapping[str, Transport] = {
    "stdio": "stdio",
    "local": "stdio",
    "http": "http",
    "streamable-http": "http",
    "streamable_http": "http",
    "streamablehttp": "http",
    "streamable": "http",
    "sse": "sse",
}
"""What clients call a transport, in lower case."""

ALIASES = frozenset((*SWITCHES, *URL_KEYS, *TRANSPORT_KEYS, "requestInit", "http_headers"))
"""Keys that have an effect, beside those that the documentation leads with."""
