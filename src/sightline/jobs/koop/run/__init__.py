"""One run of a download."""
