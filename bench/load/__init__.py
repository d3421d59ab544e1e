"""Clients that call, and what a process uses meanwhile."""
