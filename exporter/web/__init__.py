"""The scrape and administration listener."""
