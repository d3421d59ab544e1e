"""A Prometheus exporter that relays Model Context Protocol traffic and measures every call."""

__version__ = "1.0.0"
