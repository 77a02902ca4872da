"""Matches windows against the catalog; stores, shows and sends what it finds."""
