"""Which requests are accepted, and their way to a server and back."""
