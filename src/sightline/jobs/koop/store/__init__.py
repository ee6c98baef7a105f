"""The state of a download on disk."""
