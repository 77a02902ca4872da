"""The dashboard is the output of dashboard.py, and Grafana can show it."""

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def dashboard(deploy: Path) -> ModuleType:
    spec = spec_from_file_location("airtrace_dashboard", deploy / "grafana/dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def panels(deploy: Path) -> list[dict[str, Any]]:
    board = json.loads((deploy / "grafana/dashboards/airtrace.json").read_text())
    found: list[dict[str, Any]] = board["panels"]
    return found


def test_the_file_is_up_to_date(dashboard: ModuleType) -> None:
    assert dashboard.main(["--check"]) == 0


def test_a_file_changed_by_hand_is_noticed_and_written_again(
    dashboard: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "airtrace.json"
    monkeypatch.setattr(dashboard, "FILE", file)
    assert dashboard.main(["--check"]) == 1
    file.write_text(dashboard.text().replace("Worst delay", "Delay"))
    assert dashboard.main(["--check"]) == 1
    assert "python deploy/grafana/dashboard.py" in capsys.readouterr().out
    assert dashboard.main([]) == 0
    assert dashboard.main(["--check"]) == 0


def test_the_command_works_from_anywhere(deploy: Path, tmp_path: Path) -> None:
    command = [sys.executable, deploy / "grafana/dashboard.py", "--check"]
    assert subprocess.run(command, cwd=tmp_path, check=False, timeout=60).returncode == 0


def test_every_panel_uses_the_provisioned_data_source(deploy: Path, panels: list[dict[str, Any]]) -> None:
    file = deploy / "grafana/provisioning/datasources/prometheus.yaml"
    (source,) = yaml.safe_load(file.read_text())["datasources"]
    asked = [panel["datasource"] for panel in panels if panel["type"] != "row"]
    asked += [target["datasource"] for panel in panels for target in panel.get("targets", [])]
    assert asked
    assert all(one == {"type": source["type"], "uid": source["uid"]} for one in asked)


def test_every_panel_has_a_description(panels: list[dict[str, Any]]) -> None:
    shown = [panel for panel in panels if panel["type"] != "row"]
    assert all(panel["description"] and panel["targets"] for panel in shown)
    assert len({panel["title"] for panel in panels}) == len(panels)


def test_no_two_panels_share_an_id_or_a_place(panels: list[dict[str, Any]]) -> None:
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
