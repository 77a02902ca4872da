"""Similarity by PANNs: labels of streams, similar matches and audio search. Never identifies a recording."""
