"""Reads one stream: connect, find the live edge, cut windows, publish them."""
