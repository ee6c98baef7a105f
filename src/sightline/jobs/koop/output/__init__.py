"""Manifest, report and summary of a download."""
