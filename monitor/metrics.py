"""Prometheus metrics of matching and the API. Labels are stream ids, detectors, steps and routes, never tracks."""

from prometheus_client import Counter, Gauge, Histogram

WINDOWS = Counter("airtrace_worker_windows_total", "Windows processed, without replays.", ["stream"])
FENCED = Counter(
    "airtrace_worker_fenced_total",
    "Records discarded because another process holds the lease on the stream.",
    ["stream"],
)
SEGMENTS = Counter("airtrace_worker_segments_total", "Segments embedded.", ["detector"])
STEP_SECONDS = Histogram(
    "airtrace_worker_step_seconds",
    "Duration of one step of one batch.",
    ["step"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
SKIPPED_SECONDS = Counter(
    "airtrace_worker_skipped_seconds_total",
    "Seconds of audio skipped because the worker was too far behind.",
    ["stream"],
)
DELAY_SECONDS = Gauge(
    "airtrace_worker_delay_seconds", "Time from the end of the newest window to its commit.", ["stream"]
)
WORKER_STREAMS = Gauge("airtrace_worker_streams", "Streams matched in the last minute.")
CAPACITY = Gauge(
    "airtrace_worker_capacity_streams", "Streams that the worker could keep up with; NaN until it is known."
)
LOAD = Gauge("airtrace_worker_load_ratio", "Streams divided by capacity: above 1, the worker cannot keep up.")
WORKER_BEHIND = Gauge("airtrace_worker_behind_streams", "Streams whose audio is matched late.")
WORKER_STATE = Gauge("airtrace_worker_state", "1 for the state of the worker (ok, full or behind), else 0.", ["state"])
FAILURES = Counter("airtrace_worker_failures_total", "Failed attempts at a step of a batch.", ["step"])
MATCHES = Counter("airtrace_matches_total", "Matches opened.", ["stream", "detector"])
MATCHES_OPEN = Gauge("airtrace_matches_open", "Matches that are open now.", ["stream"])
ALERTS = Counter("airtrace_alerts_total", "Alerts raised.", ["severity"])
EVENTS = Counter("airtrace_events_total", "Events sent to the Kafka topic of matches.", ["type"])
EVENTS_WAITING = Gauge("airtrace_events_waiting", "Events waiting to be sent.")
PASSAGES = Counter("airtrace_panns_passages_total", "Passages labeled by PANNs, by kind of sound.", ["kind"])
PANNS_SECONDS = Histogram(
    "airtrace_panns_batch_seconds",
    "Duration of the PANNs network on one batch of passages.",
    buckets=(0.03, 0.1, 0.3, 1, 3, 10, 30),
)
PANNS_DROPPED = Counter("airtrace_panns_dropped_seconds_total", "Seconds of audio that PANNs could not keep up with.")
PANNS_WAITING = Gauge("airtrace_panns_waiting_passages", "Passages waiting for PANNs.")
SIMILAR = Counter("airtrace_similar_total", "Similar matches found, for review.", ["stream"])
GATED = Counter(
    "airtrace_worker_gated_segments_total", "Segments not searched because PANNs labeled them as speech only."
)
UNSEARCHED = Counter(
    "airtrace_worker_unsearched_segments_total",
    "Segments not searched because a play explains them, or nothing is near.",
)
TRACKS = Gauge("airtrace_catalog_tracks", "Tracks that are ready.")
SEARCH_VECTORS = Gauge("airtrace_search_vectors", "Vectors in the index in memory.")
HTTP_SECONDS = Histogram(
    "airtrace_http_request_seconds",
    "Duration of HTTP requests.",
    ["method", "route", "status"],
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 60),
)
BUILD = Gauge(
    "airtrace_build_info", "Always 1; the labels name the running version and model.", ["version", "detector", "model"]
)
