"""Long work over many images: photos in a row, captions for a folder. No HTTP routes, no printing."""
