"""Keeps the index in step with the catalog, finds where it is not, and carries a catalog elsewhere."""
