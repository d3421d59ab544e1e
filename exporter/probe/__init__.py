"""Whether a server is alive, which tools it has, and what was said."""
