"""Routes of streams and their coverage."""
