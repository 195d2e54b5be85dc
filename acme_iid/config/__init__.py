"""The configuration: ca.toml in, frozen settings out."""
