"""Alignments of a stream with a track: how they score by the track's own vectors, and which one fits best."""
