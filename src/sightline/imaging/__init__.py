"""Untrusted bytes in, pictures out."""
