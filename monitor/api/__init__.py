"""The HTTP API: one router per noun. `app.py` puts them together."""
