"""Detectors: ways to recognise a recording. `detector.py` is the protocol."""
