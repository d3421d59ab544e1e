"""Settings of all tests."""

from hypothesis import settings

# A busy machine makes any single example slow: how long one takes says nothing.
settings.register_profile("project", deadline=None, max_examples=60, print_blob=True)
settings.load_profile("project")
