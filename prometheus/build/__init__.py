"""Generates rules from ``objectives.yml``, and a page of ``runbook.md``."""
