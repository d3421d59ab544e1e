"""From a copy of messages to samples, health states and log lines."""
