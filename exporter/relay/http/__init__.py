"""Servers that speak HTTP."""
