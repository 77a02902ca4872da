"""Prometheus' configuration is valid, its rules work, and its targets are our services."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.settings import ApiSettings, MetricsSettings

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not on this machine (Debian: apt-get install prometheus)"
)


@pytest.fixture
def config(deploy: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((deploy / "prometheus/prometheus.yml").read_text())
    return loaded


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yml"), ("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml")],
    ids=" ".join,
)
def test_promtool_finds_no_errors(deploy: Path, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *arguments],
        cwd=deploy / "prometheus",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    assert "SUCCESS" in done.stdout


def test_each_of_our_processes_is_scraped_at_its_metrics_port(config: dict[str, Any], model: dict[str, Any]) -> None:
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert jobs.keys() == {f"airtrace-{name}" for name in ("ingest", "worker", "api")}
    for service in ("ingest", "worker"):
        (discovery,) = jobs[f"airtrace-{service}"]["dns_sd_configs"]
        assert (discovery["names"], discovery["type"]) == ([service], "A")
        assert discovery["port"] == MetricsSettings().port
        assert service in model["services"]
    (static,) = jobs["airtrace-api"]["static_configs"]
    assert static["targets"] == [f"api:{ApiSettings().port}"]


def test_the_rules_are_loaded(config: dict[str, Any], deploy: Path) -> None:
    assert config["rule_files"] == ["alerts.yml"]
    assert (deploy / "prometheus/alerts.yml").is_file()


def test_grafana_knows_the_scrape_interval(config: dict[str, Any], deploy: Path) -> None:
    file = deploy / "grafana/provisioning/datasources/prometheus.yaml"
    (source,) = yaml.safe_load(file.read_text())["datasources"]
    assert config["global"]["scrape_interval"] == source["jsonData"]["timeInterval"] == "15s"
