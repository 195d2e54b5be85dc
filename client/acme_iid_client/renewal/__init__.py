"""Staying renewed: when a certificate is due, renewing it, and the daemon that does so."""
