"""Source of the dashboards: ``python -m grafana.build`` writes ``grafana/dashboards/*.json``."""

import warnings

# The classic schema is the one that Grafana 11 to 13 all load from a file; the SDK prefers v2.
warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)
