"""Keys, certificates, signing requests and names."""
