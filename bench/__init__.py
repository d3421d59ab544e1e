"""Measurements of the exporter: each module is a command."""
