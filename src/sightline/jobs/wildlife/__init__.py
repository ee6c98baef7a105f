"""Which animals the photos of a folder show, in a file that camera-trap tools read."""
