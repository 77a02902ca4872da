"""From a stream's segments to plays: candidates from hits, then plays that open, extend, compete and close."""
