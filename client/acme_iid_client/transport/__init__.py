"""HTTP, bounded in size and time, and TLS under the CA's own roots."""
