"""Routes of tracks and of the catalog."""
