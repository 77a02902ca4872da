"""Windows in; matches, alerts, coverage and evidence out."""
