"""Generates the recording and alert rules from ``prometheus/objectives.yml``."""
