"""A client of the admin API, over its socket or TLS."""
