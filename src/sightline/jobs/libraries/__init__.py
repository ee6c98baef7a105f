"""Work on libraries of photos: indexing folders, searching, finding copies and groups."""
