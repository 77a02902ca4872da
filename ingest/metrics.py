"""Prometheus metrics of ingest and of the bus. Labels are stream ids and reasons, never URLs."""

from prometheus_client import Counter, Gauge

WINDOWS = Counter("airtrace_ingest_windows_total", "Windows published.", ["stream"])
AUDIO_SECONDS = Counter("airtrace_ingest_audio_seconds_total", "Seconds of audio published.", ["stream"])
GAP_SECONDS = Counter("airtrace_ingest_gap_seconds_total", "Seconds without audio, by reason.", ["stream", "reason"])
SESSIONS = Counter("airtrace_ingest_sessions_total", "Connections that delivered audio.", ["stream"])
UP = Gauge("airtrace_ingest_stream_up", "1 while audio is coming in, otherwise 0.", ["stream"])
DROPPED = Counter("airtrace_ingest_dropped_windows_total", "Windows that the bus did not accept in time.", ["stream"])
LEASES = Gauge("airtrace_ingest_leases", "Streams whose lease this process holds.")
LEASE_CHANGES = Counter(
    "airtrace_ingest_lease_changes_total",
    "Leases claimed, taken_over from a dead process, regained, released or lost.",
    ["change"],
)
REJECTED = Counter("airtrace_bus_rejected_total", "Records moved to the dead letters.")
LAG = Gauge("airtrace_bus_lag_records", "Records in our partitions that are not committed yet.", ["partition"])
PAUSED = Gauge("airtrace_bus_paused", "1 while a batch that takes long pauses its partitions, otherwise 0.")
