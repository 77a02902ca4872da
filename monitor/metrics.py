"""Prometheus metrics of the matching half. Labels are stream ids, detectors, steps and routes, never tracks."""

from prometheus_client import Counter, Gauge, Histogram

WINDOWS = Counter("airtrace_worker_windows_total", "Windows processed, replays not counted.", ["stream"])
FENCED = Counter(
    "airtrace_worker_fenced_total", "Records left out because another process has the stream by now.", ["stream"]
)
SEGMENTS = Counter("airtrace_worker_segments_total", "Segments embedded.", ["detector"])
STEP_SECONDS = Histogram(
    "airtrace_worker_step_seconds",
    "Duration of one step of one batch.",
    ["step"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
SKIPPED_SECONDS = Counter(
    "airtrace_worker_skipped_seconds_total", "Seconds that came too late to be matched.", ["stream"]
)
DELAY_SECONDS = Gauge("airtrace_worker_delay_seconds", "From the end of the newest window to its commit.", ["stream"])
FAILURES = Counter("airtrace_worker_failures_total", "Batches given up and read again, by step.", ["step"])
MATCHES = Counter("airtrace_matches_total", "Matches opened.", ["stream", "detector"])
MATCHES_OPEN = Gauge("airtrace_matches_open", "Matches on air now.", ["stream"])
ALERTS = Counter("airtrace_alerts_total", "Alerts raised.", ["severity"])
EVENTS = Counter("airtrace_events_total", "Events sent to the topic of matches.", ["type"])
EVENTS_WAITING = Gauge("airtrace_events_waiting", "Events that wait to be sent.")
PASSAGES = Counter("airtrace_panns_passages_total", "Passages that PANNs listened to, by what they are.", ["kind"])
PANNS_SECONDS = Histogram(
    "airtrace_panns_batch_seconds",
    "Duration of PANNs' network on one batch of passages.",
    buckets=(0.03, 0.1, 0.3, 1, 3, 10, 30),
)
PANNS_DROPPED = Counter("airtrace_panns_dropped_seconds_total", "Audio that PANNs did not come to, in seconds.")
PANNS_WAITING = Gauge("airtrace_panns_waiting_passages", "Passages that wait for PANNs.")
SIMILAR = Counter("airtrace_similar_total", "Similar matches found, to be reviewed.", ["stream"])
GATED = Counter("airtrace_worker_gated_segments_total", "Segments not searched because PANNs heard speech alone.")
TRACKS = Gauge("airtrace_catalog_tracks", "Tracks that are ready.")
HTTP_SECONDS = Histogram(
    "airtrace_http_request_seconds",
    "Duration of HTTP requests.",
    ["method", "route", "status"],
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 60),
)
BUILD = Gauge("airtrace_build_info", "Always 1; the labels say what is running.", ["version", "detector", "model"])
