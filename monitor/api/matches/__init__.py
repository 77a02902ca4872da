"""The API of matches: list, identify, explain, calibrate."""
