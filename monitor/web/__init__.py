"""The live page: what is on air now, rendered here and refreshed by htmx. `pages.py` has its two addresses."""
