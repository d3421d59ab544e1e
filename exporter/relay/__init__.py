"""Who may come in, and the way to a server and back."""
