"""Simulates what a broadcast does to music, for training and for measuring: voices, rooms, codecs, speed."""
