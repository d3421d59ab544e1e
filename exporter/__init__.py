"""A Prometheus exporter that relays Model Context Protocol traffic and measures every call."""

__version__ = "0.1.0"
