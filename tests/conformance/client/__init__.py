"""A reference client for the suite's client scenarios, written with the SDK."""
