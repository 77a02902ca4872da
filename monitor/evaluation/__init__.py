"""Scores reported plays against what was really played, for Airtrace and for other systems."""
