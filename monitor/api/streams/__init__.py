"""The API of streams and their coverage."""
