"""The HTTP server: sockets, connections with their time limits, one process with its loop, and several of them."""
