"""Everything that Grafana is given; the dashboards are built by ``grafana.build``."""
