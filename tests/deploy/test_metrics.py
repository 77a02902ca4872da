"""Dashboard, rules and README name exactly the metrics that exist, with the right labels."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

import ingest.metrics
import monitor.metrics

TARGET = frozenset({"job", "instance"})  # Prometheus adds them to every series
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}

# Not ours, but used: metrics of Prometheus itself, and of prometheus-client on Linux.
OTHERS = {
    "up": frozenset[str](),
    "ALERTS": frozenset({"alertname", "alertstate", "severity"}),
    "process_cpu_seconds_total": frozenset[str](),
    "process_resident_memory_bytes": frozenset[str](),
}


class Wrong(Exception):
    """An expression that does not fit our metrics."""


def _metrics() -> list[MetricWrapperBase]:
    modules = (ingest.metrics, monitor.metrics)
    return [value for module in modules for value in vars(module).values() if isinstance(value, MetricWrapperBase)]


def _family(metric: MetricWrapperBase) -> tuple[str, str, str]:
    """Documented name, type and meaning."""
    described = metric.describe()[0]
    suffix = "_total" if described.type == "counter" else ""
    return described.name + suffix, described.type, described.documentation


def _series(metric: MetricWrapperBase) -> dict[str, frozenset[str]]:
    """The series of a metric as Prometheus stores them, with their labels."""
    described, labels = metric.describe()[0], frozenset(metric._labelnames)
    return {
        described.name + suffix: labels | ({"le"} if suffix == "_bucket" else set())
        for suffix in SUFFIXES[described.type]
    }


SERIES = {name: labels for metric in _metrics() for name, labels in _series(metric).items()} | OTHERS


def _labels(node: promql.Expr, used: set[str]) -> frozenset[str] | None:
    """The labels of an expression's result, None for a number; the series it reads are added to `used`."""
    match node:
        case promql.NumberLiteral():
            return None
        case promql.ParenExpr():
            return _labels(node.expr, used)
        case promql.VectorSelector():
            return _selected(node, used)
        case promql.MatrixSelector():
            return _selected(node.vector_selector, used)
        case promql.AggregateExpr():
            return _aggregated(node, used)
        case promql.Call():
            return _called(node, used)
        case promql.BinaryExpr():
            return _combined(node, used)
    raise Wrong(f"this test does not know {type(node).__name__}: teach it")


def _selected(node: promql.VectorSelector, used: set[str]) -> frozenset[str]:
    if node.name not in SERIES:
        raise Wrong(f"there is no metric {node.name}")
    used.add(node.name)
    labels = SERIES[node.name] | TARGET
    _within({matcher.name for matcher in node.matchers.matchers}, labels, node)
    return labels


def _aggregated(node: promql.AggregateExpr, used: set[str]) -> frozenset[str]:
    inner = _labels(node.expr, used) or frozenset()
    if node.modifier is None:
        return frozenset()
    if node.modifier.type != promql.AggModifierType.By:
        raise Wrong("say what stays (by), not what goes (without)")
    return _within(node.modifier.labels, inner, node)


def _called(node: promql.Call, used: set[str]) -> frozenset[str]:
    vectors = [labels for labels in (_labels(argument, used) for argument in node.args) if labels is not None]
    (labels,) = vectors
    if node.func.name == "absent":
        return frozenset(matcher.name for matcher in node.args[0].matchers.matchers)
    if node.func.name == "histogram_quantile":
        return labels - _within({"le"}, labels, node)
    return labels


def _combined(node: promql.BinaryExpr, used: set[str]) -> frozenset[str] | None:
    left, right = _labels(node.lhs, used), _labels(node.rhs, used)
    if left is None or right is None:
        return left if right is None else right
    if node.modifier is not None and node.modifier.matching is not None:
        raise Wrong("this test does not know on() and ignoring(): teach it")
    if left != right:
        raise Wrong(f"never matches: {sorted(left)} on one side, {sorted(right)} on the other")
    return left


def _within(names: Any, labels: frozenset[str], node: promql.Expr) -> frozenset[str]:
    if unknown := set(names) - labels:
        raise Wrong(f"no label {sorted(unknown)} there: {node.prettify()}")
    return frozenset(names)


def _read(expression: str) -> tuple[frozenset[str] | None, set[str]]:
    """Labels of the result, and series read."""
    used: set[str] = set()
    return _labels(promql.parse(expression.replace("$__rate_interval", "1m")), used), used


# Where the expressions are


def _board(deploy: Path) -> dict[str, Any]:
    board: dict[str, Any] = json.loads((deploy / "grafana/dashboards/airtrace.json").read_text())
    return board


def _queries(deploy: Path) -> Iterator[tuple[str, str, str]]:
    """Panel, expression and legend of each query of the dashboard."""
    for panel in _board(deploy)["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"], target.get("legendFormat", "")


def _rules(deploy: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load((deploy / "prometheus/alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


# The tests


def test_every_query_of_the_dashboard_reads_metrics_and_labels_that_exist(deploy: Path) -> None:
    queries = list(_queries(deploy))
    assert len(queries) > 20
    for panel, expression, legend in queries:
        labels, used = _read(expression)
        assert used, panel
        assert set(re.findall(r"{{(\w+)}}", legend)) <= (labels or set()), f"{panel}: the legend names lost labels"


def test_every_query_by_stream_uses_the_stream_variable(deploy: Path) -> None:
    for panel, expression, _ in _queries(deploy):
        _, used = _read(expression)
        if any("stream" in SERIES[name] for name in used):
            assert expression.count('stream=~"$stream"') >= len(used), panel


def test_the_stream_variable_comes_from_a_metric_with_that_label(deploy: Path) -> None:
    (variable,) = _board(deploy)["templating"]["list"]
    assert variable["name"] == "stream"
    found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"])
    assert found is not None
    assert found[2] in SERIES[found[1]]


@pytest.mark.parametrize("metric", _metrics(), ids=lambda metric: _family(metric)[0])
def test_every_metric_is_on_a_panel(deploy: Path, metric: MetricWrapperBase) -> None:
    shown = {name for _, expression, _ in _queries(deploy) for name in _read(expression)[1]}
    assert shown & _series(metric).keys()


def test_every_rule_reads_metrics_and_labels_that_exist(deploy: Path) -> None:
    rules = _rules(deploy)
    assert len({rule["alert"] for rule in rules}) == len(rules) > 5
    for rule in rules:
        labels, used = _read(rule["expr"])
        assert used
        named = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        assert named <= (labels or set()), f"{rule['alert']}: the text names lost labels"


def test_every_rule_has_a_severity_and_says_what_to_do(deploy: Path) -> None:
    for rule in _rules(deploy):
        assert rule["labels"].keys() == {"severity"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "action"}


def test_every_rule_has_a_test(deploy: Path) -> None:
    tests = yaml.safe_load((deploy / "prometheus/alerts.test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in _rules(deploy)}


def test_the_series_in_the_tests_of_rules_exist(deploy: Path) -> None:
    tests = yaml.safe_load((deploy / "prometheus/alerts.test.yml").read_text())["tests"]
    series = {given["series"] for test in tests for given in test["input_series"]}
    assert series
    for selector in series:
        node = promql.parse(selector)
        used: set[str] = set()
        labels = _labels(node, used)
        assert {matcher.name for matcher in node.matchers.matchers} == labels, selector


def test_the_readme_documents_exactly_the_metrics_that_exist(deploy: Path) -> None:
    documented = re.findall(r"^\| `airtrace_.*$", (deploy / "README.md").read_text(), re.MULTILINE)
    assert documented == [_row(metric) for metric in _metrics()]


def _row(metric: MetricWrapperBase) -> str:
    name, kind, meaning = _family(metric)
    labels = ", ".join(f"`{label}`" for label in metric._labelnames) or "-"
    return f"| `{name}` | {kind} | {labels} | {meaning} |"


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("airtrace_ingest_windows", "no metric airtrace_ingest_windows"),
        ("rate(airtrace_worker_step_seconds[1m])", "no metric airtrace_worker_step_seconds"),
        ('airtrace_matches_open{url="x"}', "no label"),
        ("sum by (track) (airtrace_matches_total)", "no label"),
        ("sum by (stream) (sum by (detector) (airtrace_matches_total))", "no label"),
        ("histogram_quantile(0.5, sum by (step) (rate(airtrace_worker_step_seconds_bucket[1m])))", "no label"),
        ("airtrace_matches_total / airtrace_matches_open", "never matches"),
    ],
)
def test_these_tests_find_errors(expression: str, told: str) -> None:
    with pytest.raises(Wrong, match=told):
        _read(expression)
