"""HTTP/1.1: a server and a pool of client connections."""
