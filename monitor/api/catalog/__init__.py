"""The API of tracks and of the whole catalog."""
