"""The admin process: operators ask it over a socket or TLS, each with a role; it has no access to a CA key."""
