"""The configuration file: its grammar, its mistakes, its secrets."""
