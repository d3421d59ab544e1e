"""Between a desktop client and its stdio server, and the reports of it to the exporter."""
