"""Answers over HTTP that come to an end: each read counts towards a limit of time and one of octets."""
