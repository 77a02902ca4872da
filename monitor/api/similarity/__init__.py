"""The API of what streams sound like and of similar recordings."""
