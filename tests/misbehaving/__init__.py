"""Real servers that do what servers should not, for the tests of probes.

They stand on the standard library alone, so that they start at once and nothing corrects them.
"""
