"""Detectors turn audio into vectors: the fingerprint, the log-mel baseline and PANNs. `detector.py` is the protocol."""
