"""Policy: who is admitted, and which names an instance or a host may hold; no I/O."""
