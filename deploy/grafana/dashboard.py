"""Writes dashboards/airtrace.json, the Grafana dashboard of Airtrace's metrics.

`python deploy/grafana/dashboard.py` writes it; `--check` fails if the file differs. A gauge that
several processes report for one stream is read with max: a process that released it keeps its last value.
"""

from __future__ import annotations

import sys
from pathlib import Path

from grafana_foundation_sdk.builders import common, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import BigValueGraphMode, StackingMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ValueMap, ValueMappingResult
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

FILE = Path(__file__).parent / "dashboards" / "airtrace.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")  # the uid in provisioning/datasources

# Of a grid that is 24 wide: three charts a row are still read at a glance on a laptop.
CHART_WIDTH, STAT_WIDTH, HEIGHT = 8, 4, 8

ANY = 'stream=~"$stream"'
PER = "[$__rate_interval]"
# A delay counts only from the worker that has the stream: one that is still matching its windows.
DELAY = (
    f"max by (stream) (airtrace_worker_delay_seconds{{{ANY}}} and rate(airtrace_worker_windows_total{{{ANY}}}[5m]) > 0)"
)

Panel = Builder[model.Panel]
Queries = dict[str, str]  # legend -> expression


def dashboard() -> model.Dashboard:
    """The whole board, in the order in which a stream's audio passes through it."""
    board = _empty()
    rows = {
        "Listening": _listening(),
        "Matching": _matching(),
        "Sounds (PANNs)": _sounds(),
        "Alerts": _alerts(),
        "Catalog": _catalog(),
        "HTTP": _http(),
        "Build and processes": _processes(),
    }
    for title, panels in rows.items():
        board.with_row(build.Row(title))
        for panel in panels:
            board.with_panel(panel)
    built = board.build()
    for number, built_panel in enumerate(built.panels or [], start=1):
        built_panel.id_val = number  # links to one panel name it by its id
    return built


def _empty() -> build.Dashboard:
    return (
        build.Dashboard("Airtrace")
        .uid("airtrace")
        .description("Listening, matching and alerts of Airtrace. Built by deploy/grafana/dashboard.py.")
        .tags(["airtrace"])
        .timezone("utc")
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("30s")
        .with_variable(_streams())
    )


def _streams() -> build.QueryVariable:
    return (
        build.QueryVariable("stream")
        .label("Stream")
        .description("Ids, as `airtrace streams list --json` shows them.")
        .datasource(SOURCE)
        .query("label_values(airtrace_ingest_stream_up, stream)")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.NUMERICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def _listening() -> list[Panel]:
    up = f"max by (stream) (airtrace_ingest_stream_up{{{ANY}}})"
    return [
        _stat("Streams up", {"up": f"sum({up})", "of": f"count({up})"}, "none", "Streams that send audio now, of all."),
        _stat(
            "Worst delay",
            {"delay": f"max({DELAY})"},
            "s",
            "How far matching lags behind the audio of the slowest stream.",
        ),
        _timeline("Streams", {"stream {{stream}}": up}, "Up while audio is coming in."),
        _chart(
            "Audio received",
            {"stream {{stream}}": f"sum by (stream) (rate(airtrace_ingest_audio_seconds_total{{{ANY}}}{PER}))"},
            "none",
            "Seconds of audio per second: 1 is real time, more is a burst after a connect, less is trouble.",
        ),
        _chart(
            "Not listened to, by reason",
            {"{{reason}}": f"sum by (reason) (rate(airtrace_ingest_gap_seconds_total{{{ANY}}}{PER}))"},
            "none",
            "Seconds lost per second, over all streams chosen.",
            stacked=True,
        ),
        _chart(
            "Connections in an hour",
            {"stream {{stream}}": f"sum by (stream) (increase(airtrace_ingest_sessions_total{{{ANY}}}[1h]))"},
            "none",
            "Sessions that gave audio. A steady stream has none; each reconnect begins one.",
        ),
        _chart(
            "Streams by process",
            {"{{instance}}": "sum by (instance) (airtrace_ingest_leases)"},
            "none",
            "Streams that each `airtrace ingest` holds the lease of. They share them out; `airtrace run` needs none.",
        ),
        _chart(
            "Leases in an hour",
            {"{{change}}": "sum by (change) (increase(airtrace_ingest_lease_changes_total[1h]))"},
            "none",
            "taken_over: a process died. lost: one was paused, or cut off. regained: the database was away.",
        ),
        _chart(
            "Windows dropped in an hour",
            {
                "not taken by the bus, stream {{stream}}": (
                    f"sum by (stream) (increase(airtrace_ingest_dropped_windows_total{{{ANY}}}[1h]))"
                ),
                "of a lost lease, stream {{stream}}": (
                    f"sum by (stream) (increase(airtrace_worker_fenced_total{{{ANY}}}[1h]))"
                ),
            },
            "none",
            "Not taken: brokers were away for longer than the buffer lasts, so gaps. Of a lost lease: harmless.",
        ),
    ]


def _matching() -> list[Panel]:
    buckets = f"sum by (step, le) (rate(airtrace_worker_step_seconds_bucket{PER}))"
    return [
        _chart(
            "Windows",
            {
                "published": f"sum(rate(airtrace_ingest_windows_total{{{ANY}}}{PER}))",
                "matched": f"sum(rate(airtrace_worker_windows_total{{{ANY}}}{PER}))",
            },
            "ops",
            "The two lines coincide while the workers keep up.",
        ),
        _chart("Delay", {"stream {{stream}}": DELAY}, "s", "From the end of the newest window to its commit."),
        _chart(
            "Segments embedded",
            {"{{detector}}": f"sum by (detector) (rate(airtrace_worker_segments_total{PER}))"},
            "ops",
            "Segments per second, over all streams.",
        ),
        _chart(
            "Step duration, median",
            {"{{step}}": f"histogram_quantile(0.5, {buckets})"},
            "s",
            "Half of the batches took less.",
        ),
        _chart(
            "Step duration, 95th percentile",
            {"{{step}}": f"histogram_quantile(0.95, {buckets})"},
            "s",
            "One batch in twenty took longer.",
        ),
        _chart(
            "Time spent, by step",
            {"{{step}}": f"sum by (step) (rate(airtrace_worker_step_seconds_sum{PER}))"},
            "none",
            "Seconds per second, over all workers: where the processor time goes.",
            stacked=True,
        ),
        _chart(
            "Failures in an hour",
            {
                "{{step}}": "sum by (step) (increase(airtrace_worker_failures_total[1h]))",
                "records refused": "sum(increase(airtrace_bus_rejected_total[1h]))",
            },
            "none",
            "Batches given up and read again: nothing is lost, but the delay grows. Refused: sent to the dead letters.",
        ),
        _chart(
            "Records behind",
            {
                "partition {{partition}}": "max by (partition) (airtrace_bus_lag_records)",
                "paused {{instance}}": "max by (instance) (airtrace_bus_paused)",
            },
            "none",
            "In Kafka and not yet processed. Paused is 1 while a worker waits for PostgreSQL or Milvus.",
        ),
        _chart(
            "Seconds skipped in an hour",
            {"stream {{stream}}": f"sum by (stream) (increase(airtrace_worker_skipped_seconds_total{{{ANY}}}[1h]))"},
            "s",
            "Too late to be matched, if matching.backlog is skip; gaps in the coverage.",
        ),
        _chart(
            "Matches opened in an hour",
            {
                "stream {{stream}} {{detector}}": (
                    f"sum by (stream, detector) (increase(airtrace_matches_total{{{ANY}}}[1h]))"
                )
            },
            "none",
            "Plays that were recognized.",
        ),
        _chart(
            "Matches on air",
            {"stream {{stream}}": f"max by (stream) (airtrace_matches_open{{{ANY}}})"},
            "none",
            "Plays that go on now.",
        ),
    ]


def _sounds() -> list[Panel]:
    """Empty if PANNs is not in use."""
    buckets = f"sum by (le) (rate(airtrace_panns_batch_seconds_bucket{PER}))"
    return [
        _chart(
            "What streams sound like",
            {"{{kind}}": f"sum by (kind) (rate(airtrace_panns_passages_total{PER})) * 10"},
            "none",
            "Seconds per second, over all streams, by PANNs' label.",
            stacked=True,
        ),
        _chart(
            "Similar matches in an hour",
            {"stream {{stream}}": f"sum by (stream) (increase(airtrace_similar_total{{{ANY}}}[1h]))"},
            "none",
            "Audio that sounds like a track, to be reviewed; these are not plays.",
        ),
        _chart(
            "PANNs behind",
            {
                "passages waiting": "sum(airtrace_panns_waiting_passages)",
                "seconds dropped in an hour": "sum(increase(airtrace_panns_dropped_seconds_total[1h]))",
            },
            "none",
            "If more than a few wait, PANNs needs a GPU, more threads or fewer streams. Fingerprints never wait.",
        ),
        _chart(
            "PANNs batch, 95th percentile",
            {"network": f"histogram_quantile(0.95, {buckets})"},
            "s",
            "One batch of up to eight passages of ten seconds in twenty took longer.",
        ),
        _chart(
            "Searches saved by the gate",
            {"segments": f"sum(rate(airtrace_worker_gated_segments_total{PER}))"},
            "ops",
            "Segments per second that were not searched because PANNs heard speech alone (panns.gate).",
        ),
    ]


def _alerts() -> list[Panel]:
    return [
        _chart(
            "Alerts raised in an hour",
            {"{{severity}}": "sum by (severity) (increase(airtrace_alerts_total[1h]))"},
            "none",
            "Matches that somebody must see, over all streams.",
            stacked=True,
        ),
        _chart(
            "Events in an hour",
            {"{{type}}": "sum by (type) (increase(airtrace_events_total[1h]))"},
            "none",
            "Sent to the topic of matches, for other systems.",
            stacked=True,
        ),
        _chart(
            "Events waiting",
            {"waiting": "max(airtrace_events_waiting)"},
            "none",
            "Not sent yet. They wait while the brokers are away; none is lost.",
        ),
        _chart(
            "Monitoring rules that fire",
            {"{{alertname}}": 'sum by (alertname) (ALERTS{alertname=~"Airtrace.*", alertstate="firing"})'},
            "none",
            "From deploy/prometheus/alerts.yml: about Airtrace itself, not about matches.",
            stacked=True,
        ),
    ]


def _catalog() -> list[Panel]:
    # A worker counts only when it starts; the API, or the one process of `airtrace run`, counts at every change.
    ready = 'max(airtrace_catalog_tracks{job!="airtrace-worker"})'
    return [
        _stat("Tracks", {"ready": ready}, "none", "Tracks that can be recognized now."),
        _chart("Tracks over time", {"ready": ready}, "none", "Tracks that can be recognized."),
    ]


def _http() -> list[Panel]:
    buckets = f"sum by (route, le) (rate(airtrace_http_request_seconds_bucket{PER}))"
    return [
        _chart(
            "Requests",
            {"{{method}} {{route}}": f"sum by (method, route) (rate(airtrace_http_request_seconds_count{PER}))"},
            "reqps",
            "Requests a second.",
        ),
        _chart(
            "Duration, 95th percentile",
            {"{{route}}": f"histogram_quantile(0.95, {buckets})"},
            "s",
            "One request in twenty took longer.",
        ),
        _chart(
            "Requests that failed",
            {
                "{{status}} {{route}}": (
                    f'sum by (status, route) (rate(airtrace_http_request_seconds_count{{status=~"[45].."}}{PER}))'
                )
            },
            "reqps",
            "4xx: refused. 5xx: our fault, or a part that cannot be reached.",
        ),
    ]


def _processes() -> list[Panel]:
    jobs = 'job=~"airtrace.*"'
    return [
        _table(
            "What is running",
            "max by (job, instance, version, detector, model) (airtrace_build_info)",
            "All rows must name the same detector and model; otherwise matches cannot be compared.",
        ),
        _chart(
            "Processor",
            {"{{job}} {{instance}}": f"rate(process_cpu_seconds_total{{{jobs}}}{PER})"},
            "none",
            "Cores in use.",
        ),
        _chart(
            "Memory",
            {"{{job}} {{instance}}": f"process_resident_memory_bytes{{{jobs}}}"},
            "bytes",
            "Resident memory, without ffmpeg, which runs in processes of its own.",
        ),
    ]


def _chart(title: str, queries: Queries, unit: str, meaning: str, *, stacked: bool = False) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(title)
        .description(meaning)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .span(CHART_WIDTH)
        .height(HEIGHT)
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(30)
    for target in _targets(queries):
        panel.with_target(target.range())
    return panel


def _stat(title: str, queries: Queries, unit: str, meaning: str) -> stat.Panel:
    panel = (
        stat.Panel()
        .title(title)
        .description(meaning)
        .datasource(SOURCE)
        .unit(unit)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value("-")
        .span(STAT_WIDTH)
        .height(HEIGHT)
    )
    for target in _targets(queries):
        panel.with_target(target.instant())
    return panel


def _timeline(title: str, queries: Queries, meaning: str) -> statetimeline.Panel:
    words = {
        "0": ValueMappingResult(text="down", color="red", index=0),
        "1": ValueMappingResult(text="up", color="green", index=1),
    }
    steps = [Threshold(value=None, color="red"), Threshold(value=1, color="green")]
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(meaning)
        .datasource(SOURCE)
        .mappings([ValueMap(options=words)])
        .thresholds(build.ThresholdsConfig().steps(steps))
        .span(2 * CHART_WIDTH)
        .height(HEIGHT)
    )
    for target in _targets(queries):
        panel.with_target(target.range())
    return panel


def _table(title: str, expression: str, meaning: str) -> table.Panel:
    query = _query(expression).instant().format(PromQueryFormat.TABLE).ref_id("A")
    labels_only = model.DataTransformerConfig(
        id_val="organize", options={"excludeByName": {"Time": True, "Value": True}}
    )
    panel = table.Panel().title(title).description(meaning).datasource(SOURCE).span(CHART_WIDTH).height(HEIGHT)
    return panel.with_transformation(labels_only).with_target(query)


def _targets(queries: Queries) -> list[Dataquery]:
    pairs = zip("ABCDEFGH", queries.items(), strict=False)
    return [_query(expression).legend_format(legend).ref_id(ref_id) for ref_id, (legend, expression) in pairs]


def _query(expression: str) -> Dataquery:
    return Dataquery().expr(expression).datasource(SOURCE)


def text() -> str:
    """The text of the file."""
    return JSONEncoder(sort_keys=True, indent=2).encode(dashboard()) + "\n"


def main(arguments: list[str]) -> int:
    """Writes or checks; returns the exit code."""
    if "--check" in arguments:
        if FILE.exists() and FILE.read_text("utf-8") == text():
            return 0
        print(f"deploy/grafana/dashboards/{FILE.name} is not what is built: python deploy/grafana/dashboard.py")
        return 1
    FILE.write_text(text(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
