"""The archive: search, records and publications."""
