"""Arbitrary bytes for everything that reads what strangers write."""
