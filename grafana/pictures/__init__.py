"""Draws the committed dashboards with live data, for who has no Grafana at hand."""
