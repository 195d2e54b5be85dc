"""RFC 8555 without I/O: facts, statuses derived from them, identifiers, CSRs."""
