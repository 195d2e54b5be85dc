"""Keys and certificates: the CA's own, and those it issues."""
