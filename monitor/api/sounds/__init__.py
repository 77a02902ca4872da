"""Routes of sounds and similar recordings."""
