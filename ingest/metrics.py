"""Prometheus metrics of the listening half. Labels are stream ids and reasons, never URLs."""

from prometheus_client import Counter, Gauge

WINDOWS = Counter("airtrace_ingest_windows_total", "Windows published.", ["stream"])
AUDIO_SECONDS = Counter("airtrace_ingest_audio_seconds_total", "Seconds of audio published.", ["stream"])
GAP_SECONDS = Counter("airtrace_ingest_gap_seconds_total", "Seconds not listened to, by reason.", ["stream", "reason"])
SESSIONS = Counter("airtrace_ingest_sessions_total", "Connections that gave audio.", ["stream"])
UP = Gauge("airtrace_ingest_stream_up", "1 while audio is coming in, else 0.", ["stream"])
REJECTED = Counter("airtrace_bus_rejected_total", "Records that could not be read and went to the dead letters.")
