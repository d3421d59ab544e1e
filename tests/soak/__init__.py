"""Mixed traffic for a long time, with restarts and reloads, counted on both sides of Prometheus."""
