"""The files of desktop clients."""
