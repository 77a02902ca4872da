"""The HTTP API: one router per noun. `monitor/processes/http_app.py` puts them together."""
