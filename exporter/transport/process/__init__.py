"""Child processes on three pipes."""
