"""Spans of finished requests, and the way of them to a collector."""
