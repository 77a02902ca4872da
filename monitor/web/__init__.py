"""The live page: what is on air now, rendered here and refreshed by htmx. `live.py` serves both."""
